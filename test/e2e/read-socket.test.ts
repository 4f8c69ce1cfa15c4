/** What commands of checks and detectors say is shown to those whom it concerns: `read.sock` is everybody's. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createAgent } from '../../src/agent/agent.ts';
import { silentLogger } from '../../src/base/log.ts';
import { readChecks } from '../../src/domain/check.ts';
import { readDetectors } from '../../src/domain/detector.ts';
import { exited, ScriptedRunner } from '../agent/scripted-runner.ts';
import { until } from '../helpers/until.ts';

test('read.sock tells how checks and detectors are, and nothing that their commands said', async (t) => {
  // Short, because a socket's path is.
  const folder = mkdtempSync(join(tmpdir(), 'hf-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const runner = new ScriptedRunner();
  const secret = 'password of 10.0.0.7 is hunter2';
  runner.scripts.set('db', exited(1, secret)).set('nginx', exited(1, secret));
  const agent = await createAgent({
    dataDir: join(folder, 'data'),
    socketDir: join(folder, 'run'),
    name: 'edge-1',
    registry: null,
    runner,
    logger: silentLogger,
    checks: readChecks([{ type: 'db', exec: ['check_db'], every: '1s' }]),
    detectors: readDetectors([{ command: ['nginx', '-v'], match: '(?<version>.+)', component: 'nginx' }]),
  });
  t.after(() => agent.close());
  const asked = (socket: string, path: string) => get(join(folder, 'run', socket), path);
  const shown = async (socket: string) => JSON.parse((await asked(socket, '/v1/status')).text);
  await until(async () => (await shown('admin.sock')).checks[0].state === 'failing');
  const json = await shown('admin.sock');
  assert.deepEqual(
    [json.checks[0].output, json.inventory.detectors[0].output],
    [secret, secret],
    'who may see everything sees why',
  );
  for (const path of ['/v1/status', '/healthz', '/v1/services', '/metrics']) {
    const { status, text } = await asked('read.sock', path);
    assert.equal(status, 200, path);
    assert.doesNotMatch(text, /hunter2/, path);
  }
  const seen = (await shown('read.sock')).checks[0];
  assert.deepEqual(
    [seen.type, seen.state, seen.detail, 'output' in seen],
    ['db', 'failing', 'exit code 1', false],
  );
});

function get(socketPath: string, path: string): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path, agent: false }, (response) => {
      let text = '';
      response.on('data', (chunk) => (text += chunk));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
    });
    asked.on('error', reject);
    asked.end();
  });
}
