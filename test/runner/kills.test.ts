import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { SeededRandom } from '../helpers/random.ts';
import { tempFolder } from '../helpers/temp.ts';
import { until } from '../helpers/until.ts';
import { startMortal } from './mortals.ts';
import { processesWith, uniqueWord } from './processes.ts';

const never = new AbortController().signal;
const rounds = 8;

test('E3: a runner that is killed at any time, again and again, never runs a step twice at once and leaves nothing running', async (t) => {
  const random = SeededRandom.fresh(t);
  const folder = tempFolder(t);
  const dataDir = join(folder, 'runner');
  const word = uniqueWord();
  // Others in each round: the runner dies under none of them three times.
  const types = Array.from({ length: rounds + 1 }, (_, round) =>
    ['a', 'b', 'c'].map((name) => `${name}${round}`),
  );
  const checks = types.flat().map((type, index) => {
    const log = join(folder, type);
    const script = `echo begin >> ${log}; (setsid sleep 0.0${index % 7} &) ; sleep 0.0${index % 5}; echo end >> ${log}`;
    return { type, exec: ['sh', '-c', script, word], timeout: '30s' };
  });
  for (let round = 0; round < rounds; round += 1) {
    const runner = await startMortal(t, dataDir, { checks });
    let isOver = false;
    const asked = [...(types[round - 1] ?? []), ...(types[round] ?? [])];
    const askers = asked.map(async (check) => {
      while (!isOver)
        await runner.client.run({ kind: 'check', check }, { signal: never }).catch(() => pause(1));
    });
    await pause(random.uniform() * 200);
    await runner.kill('SIGKILL');
    isOver = true;
    await Promise.all(askers);
  }
  const last = await startMortal(t, dataDir, { checks });
  await until(async () => (await last.client.status()).running === 0);
  assert.deepEqual(processesWith(word), []);
  let began = 0;
  for (const type of types.flat()) {
    const log = join(folder, type);
    const lines = existsSync(log) ? readFileSync(log, 'utf8').trim().split('\n') : [];
    // Each ends though its runner is gone, and none begins before the one before it has ended.
    const turns = lines.map((_, index) => (index % 2 === 0 ? 'begin' : 'end'));
    assert.deepEqual(lines, turns, type);
    began += lines.length / 2;
  }
  t.diagnostic(`${began} runs`);
  assert(began >= rounds, 'a run without load proves nothing');
});
