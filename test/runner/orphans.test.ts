import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { StepResult } from '../../src/domain/step.ts';
import { type StepPoint, stepPoints } from '../../src/runner/steps.ts';
import { tempFolder } from '../helpers/temp.ts';
import { until } from '../helpers/until.ts';
import { startMortal } from './mortals.ts';
import { processesWith, uniqueWord } from './processes.ts';

const never = new AbortController().signal;

/**
 * A check that leaves a line in a file when it begins, writes, waits until it is let go, and leaves one when it ends: two
 * at once, or one that was started twice, would be seen in the file.
 */
function slowCheck(folder: string, word: string): object {
  const [begun, go, log] = ['begun', 'go', 'log'].map((name) => join(folder, name));
  // Without its runner the pipe is closed: a program that is to live on must not die of that.
  const script = `trap "" PIPE; echo begin >> ${log}; echo output 2>&1; : > ${begun}; while [ ! -e ${go} ]; do sleep 0.02; done; echo end >> ${log}`;
  return { type: 'slow', exec: ['sh', '-c', script, word], timeout: '1m' };
}

/** Where the step is when its runner dies at a point. */
const running: readonly StepPoint[] = ['started', 'output'];

// `adopting` is a point of the next runner, which has a test of its own below.
for (const dieAt of stepPoints.filter((point) => point !== 'adopting')) {
  test(`E3: a runner that is killed at "${dieAt}" leaves a step that the next one adopts, or tells the end of; never two at once`, async (t) => {
    const folder = tempFolder(t);
    const dataDir = join(folder, 'runner');
    const word = uniqueWord();
    const checks = [slowCheck(folder, word)];
    const step = { kind: 'check', check: 'slow' } as const;
    const go = () => writeFileSync(join(folder, 'go'), '');

    const first = await startMortal(t, dataDir, { checks, dieAt });
    const asked = first.client.run(step, { signal: never }).catch(() => null);
    if (!running.includes(dieAt) && dieAt !== 'asked' && dieAt !== 'recorded') {
      await until(() => readdirSync(folder).includes('begun'));
      go();
    }
    assert.equal(await first.ended, 'SIGKILL');
    const told = await asked;
    const isRunning = running.includes(dieAt);
    if (isRunning) await until(() => processesWith(word).length > 0, 'the step lives on without its runner');

    const second = await startMortal(t, dataDir, { checks });
    assert.equal((await second.client.status()).running, isRunning ? 1 : 0);
    const again = second.client.run(step, { signal: never });
    if (isRunning) go();
    if (dieAt === 'asked' || dieAt === 'recorded') {
      // Before it was started; what a record alone knows of is lost, and told once.
      if (dieAt === 'recorded') assert.equal((await again).end.kind, 'lost');
      go();
      assert.deepEqual((await second.client.run(step, { signal: never })).end, {
        kind: 'exited',
        exitCode: 0,
      });
    } else await checkSecond(await again, told, dieAt);

    const lines = readFileSync(join(folder, 'log'), 'utf8').trim().split('\n');
    assert.deepEqual(
      lines,
      lines.map((_, index) => (index % 2 === 0 ? 'begin' : 'end')),
      'one at a time',
    );
    assert.deepEqual(processesWith(word), []);
    await until(
      () => readdirSync(join(dataDir, 'steps')).length <= 1,
      'no more than what counts its crashes',
    );
  });
}

/** What the second runner says of a step that the first one had started. */
async function checkSecond(result: StepResult, told: StepResult | null, dieAt: StepPoint): Promise<void> {
  const whole = { kind: 'exited', exitCode: 0 };
  switch (dieAt) {
    case 'started':
    case 'output':
      assert.equal(result.adopted, true);
      assert.equal(result.end.kind, 'lost', 'its exit code was for the runner that is gone');
      return;
    case 'ended':
      assert.equal(result.end.kind, 'lost', 'it ended, and nobody has written down how');
      return;
    case 'kept':
      assert.deepEqual(result.end, whole, 'how it ended was written down');
      assert.equal(result.adopted, false);
      return;
    default:
      // The answer was out; whether its record is gone makes no difference but that it is told again.
      assert.deepEqual(told?.end, whole);
      assert.deepEqual(result.end, whole);
  }
}

test('E3: a runner that is killed while it adopts leaves the step to the one after it', async (t) => {
  const folder = tempFolder(t);
  const dataDir = join(folder, 'runner');
  const word = uniqueWord();
  const checks = [slowCheck(folder, word)];
  const step = { kind: 'check', check: 'slow' } as const;
  const first = await startMortal(t, dataDir, { checks, dieAt: 'output' });
  await first.client.run(step, { signal: never }).catch(() => null);
  await first.ended;
  const second = await startMortal(t, dataDir, { checks, dieAt: 'adopting' });
  assert.equal(await second.ended, 'SIGKILL');
  assert(processesWith(word).length > 0);
  const third = await startMortal(t, dataDir, { checks });
  const asked = third.client.run(step, { signal: never });
  writeFileSync(join(folder, 'go'), '');
  assert.deepEqual([(await asked).end.kind, (await asked).adopted], ['lost', true]);
  assert.deepEqual(processesWith(word), []);
});

test('E3: what an earlier runner started has its time limit under the next one too, and strays without a record are ended', async (t) => {
  const folder = tempFolder(t);
  const dataDir = join(folder, 'runner');
  const [slow, stray] = [uniqueWord(), uniqueWord()];
  const checks = [
    { type: 'slow', exec: ['sh', '-c', 'trap "" TERM; setsid sleep 1000 & sleep 1000', slow], timeout: '2s' },
    { type: 'stray', exec: ['sh', '-c', 'sleep 1000', stray], timeout: '10m' },
  ];
  const first = await startMortal(t, dataDir, { checks });
  for (const check of ['slow', 'stray'])
    first.client.run({ kind: 'check', check }, { signal: never }).catch(() => null);
  await until(() => processesWith(slow).length === 1 && processesWith(stray).length === 1);
  await first.kill('SIGKILL');
  const steps = join(dataDir, 'steps');
  for (const file of readdirSync(steps)) if (file.includes('stray')) rmSync(join(steps, file));

  const second = await startMortal(t, dataDir, { checks });
  await until(() => processesWith(stray).length === 0, 'the stray is ended');
  const { end, adopted } = await second.client.run({ kind: 'check', check: 'slow' }, { signal: never });
  assert.deepEqual([end.kind, adopted], ['timed-out', true]);
  assert.deepEqual(processesWith(slow), []);
});

test('a record that is damaged is told of and removed, and stops no start', async (t) => {
  const dataDir = join(tempFolder(t), 'runner');
  const checks = [{ type: 'a', exec: ['true'] }];
  const first = await startMortal(t, dataDir, { checks });
  await first.kill('SIGTERM');
  for (const [name, text] of [
    ['half.json', '{"v":1,"name":"ha'],
    ['empty.json', ''],
    ['other.json', JSON.stringify({ v: 1, name: 'another' })],
    ['.a.json.00.tmp', 'x'],
  ] as const)
    writeFileSync(join(dataDir, 'steps', name), text);
  const second = await startMortal(t, dataDir, { checks });
  assert.deepEqual(readdirSync(join(dataDir, 'steps')), []);
  assert.match(second.stderr(), /cannot be read, removing it/);
  const { end } = await second.client.run({ kind: 'check', check: 'a' }, { signal: never });
  assert.deepEqual(end, { kind: 'exited', exitCode: 0 });
});
