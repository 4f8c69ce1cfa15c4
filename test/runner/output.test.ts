import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { limits } from '../../src/base/limits.ts';
import { OutputKeeper } from '../../src/runner/output.ts';
import { tempFolder } from '../helpers/temp.ts';
import { startMortal } from './mortals.ts';
import { startRunner } from './world.ts';

const never = new AbortController().signal;

test('E11: floods are read and dropped within half a core and a bounded memory, and a quiet step is not held up', async (t) => {
  const dataDir = join(tempFolder(t), 'runner');
  const flood = (type: string, command: string) => ({ type, exec: ['sh', '-c', command], timeout: '4s' });
  const checks = [
    flood('zeros', 'exec cat /dev/zero'),
    flood('random', 'exec cat /dev/urandom >&2'),
    flood('lines', 'exec yes'),
    { type: 'quiet', exec: ['sh', '-c', 'sleep 1; echo quiet'], timeout: '20s' },
  ];
  const { client, pid } = await startMortal(t, dataDir, { checks });
  await client.status();
  const before = usageOf(pid);
  const startMs = performance.now();
  const [zeros, random, lines, quiet] = await Promise.all(
    checks.map(({ type }) => client.run({ kind: 'check', check: type }, { signal: never })),
  );
  const [after, tookMs] = [usageOf(pid), performance.now() - startMs];
  assert.equal(quiet?.stdout, 'quiet\n');
  for (const one of [zeros, random, lines]) {
    assert.deepEqual(one?.end, { kind: 'timed-out' });
    const keptBytes = Buffer.byteLength(`${one?.stdout}${one?.stderr}`);
    assert(keptBytes > 0 && keptBytes <= 3 * limits.runnerOutputBytes, `${keptBytes} bytes`);
    assert((one?.droppedBytes ?? 0) > 1_048_576, `${one?.droppedBytes} bytes were dropped`);
  }
  const read = [zeros, random, lines].reduce((sum, one) => sum + (one?.droppedBytes ?? 0), 0);
  const [cpu, grown] = [(after.cpuMs - before.cpuMs) / tookMs, after.residentBytes - before.residentBytes];
  t.diagnostic(
    `${(read / 2 ** 20 / (tookMs / 1_000)).toFixed(0)} MiB/s read, ${(100 * cpu).toFixed(0)} % of a core, ${(grown / 2 ** 20).toFixed(0)} MiB more`,
  );
  assert(cpu < 0.5, `${cpu} of a core`);
  assert(grown < 96 * 2 ** 20, `${grown} bytes more`);
});

test('E11: what is no text is told as text, on one line of JSON', async (t) => {
  const bytes = String.raw`a\033[31mred\033[0m\000\377\303\050\302\233 \r\n\b\a`;
  const world = await startRunner(t, {
    checks: [{ type: 'ansi', exec: ['printf', `${bytes.replaceAll('%', '%%')}`] }],
  });
  const { stdout } = await world.check('ansi');
  assert.equal(stdout, 'a\u001b[31mred\u001b[0m\ufffd\ufffd\ufffd(\u009b \r\n\b\u0007');
  const line = await new Promise<string>((resolve, reject) => {
    let text = '';
    const socket = connect(world.socket, () =>
      socket.end(
        '{"v":1,"id":"1","mimetype":"application/json","body":{"op":"run","step":{"kind":"check","check":"ansi"},"registryNowMs":null}}\n',
      ),
    );
    socket.setEncoding('utf8').on('data', (chunk) => {
      text += chunk;
    });
    socket.on('end', () => resolve(text));
    socket.on('error', reject);
  });
  assert.equal(line.indexOf('\n'), line.length - 1);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: there must be none
  assert.doesNotMatch(line.slice(0, -1), /[\u0000-\u001f]/);
});

test('OutputKeeper keeps the beginning of both streams together, and cuts no character in two', () => {
  const keeper = new OutputKeeper();
  keeper.add('stdout', Buffer.from('x'.repeat(limits.runnerOutputBytes - 2)));
  keeper.add('stderr', Buffer.from('é€'));
  keeper.add('stdout', Buffer.from('more'));
  assert.deepEqual(
    { ...keeper.kept, stdout: keeper.kept.stdout.length },
    { stdout: limits.runnerOutputBytes - 2, stderr: 'é', droppedBytes: 7 },
  );
  const cut = new OutputKeeper();
  cut.add('stdout', Buffer.from(`${'x'.repeat(limits.runnerOutputBytes - 1)}€`));
  assert.deepEqual([cut.kept.stdout.length, cut.kept.droppedBytes], [limits.runnerOutputBytes - 1, 2]);
});

/** proc(5): utime and stime in ticks of 10 ms, rss in pages. */
function usageOf(pid: number): { cpuMs: number; residentBytes: number } {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  const [utime, stime, rss] = [fields[11], fields[12], fields[21]].map(Number);
  return { cpuMs: ((utime ?? 0) + (stime ?? 0)) * 10, residentBytes: (rss ?? 0) * 4_096 };
}
