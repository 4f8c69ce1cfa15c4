/** What a command writes reaches whoever reads it, however much it is. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { test } from 'node:test';

/** 1 MB: Linux keeps about 140 KB for a reader of a socket, which is what Node gives a process for its stdout. */
const server = `
const items = Array.from({ length: 1000 }, (_, n) => ({ name: 'n'.repeat(100) + n, versions: [1, 2, 3, 4].map((v) => ({ version: v + 'v'.repeat(230), hosts: 1 })) }));
const body = JSON.stringify({ items, next: null, asOf: '2026-01-01T00:00:00.000Z', position: '1.1', stale: false });
require('node:http').createServer((request, response) => {
  response.setHeader('content-type', 'application/json');
  response.end(body);
}).listen(0, '127.0.0.1', function () { console.log(this.address().port); });
`;

test('a command ends when all that it has written is taken, also through a socket', async (t) => {
  const serving = spawn(process.execPath, ['-e', server], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => serving.kill('SIGKILL'));
  const [port] = (await once(serving.stdout, 'data')) as [Buffer];
  const args = ['components', 'ls', '--url', `http://127.0.0.1:${String(port).trim()}`, '--limit', '1000'];
  const main = join(import.meta.dirname, '../../src/main.ts');
  const env = { PATH: process.env['PATH'], HOME: process.env['HOME'], HOLDFAST_TOKEN: 'x' };
  const text = execFileSync(process.execPath, [main, ...args, '-o', 'json'], {
    ...{ env, encoding: 'utf8', maxBuffer: 16 * 1_024 * 1_024 },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  assert.equal((JSON.parse(text) as { items: unknown[] }).items.length, 1_000);
});
