import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { limits } from '../../src/base/limits.ts';
import { tempFolder } from '../helpers/temp.ts';
import { until } from '../helpers/until.ts';
import { startMortal } from './mortals.ts';
import { processesWith, uniqueWord } from './processes.ts';
import { startRunner } from './world.ts';

const never = new AbortController().signal;

/** Processes that do not want to go, each with the word as an argument; `begun` is there when it runs. */
function stubborn(word: string, begun: string): Readonly<Record<string, string>> {
  const sleep = `sh -c ": > ${begun}; while :; do sleep 1; done" ${word}`;
  return {
    'a child': `${sleep} &`,
    'one that ignores TERM': `(trap "" TERM HUP INT; exec ${sleep}) &`,
    'one in a session of its own': `setsid ${sleep} &`,
    'one that was forked twice': `(setsid sh -c '(${sleep}) &' ${word} &)`,
    'one that ignores TERM in a session of its own': `(trap "" TERM; exec setsid ${sleep}) &`,
    'one that is stopped': `${sleep} & kill -STOP $!; : > ${begun}`,
    'one without an environment': `env -i ${sleep} &`,
    'one that forks all the time': `(trap "" TERM; while :; do sh -c ": > ${begun}; sleep 0.01" ${word}; done) &`,
  };
}

test('E13: at its time limit a step is ended with all that it started, however that tries to stay', async (t) => {
  const folder = tempFolder(t);
  const kinds = Object.keys(stubborn('', '')).map((what) => {
    const word = uniqueWord();
    return { what, word, begun: join(folder, word) };
  });
  const world = await startRunner(t, {
    checks: kinds.map(({ what, word, begun }) => ({
      type: what,
      exec: ['sh', '-c', `${stubborn(word, begun)[what]}\nwhile :; do sleep 1; done`, word],
      timeout: '3s',
    })),
  });
  await Promise.all(
    kinds.map(async ({ what, word, begun }) => {
      const { end, durationMs } = await world.check(what);
      // Not looked for among the processes while they run: on a busy machine that is over before it is seen.
      assert(existsSync(begun), `it has not started ${what}`);
      assert.deepEqual(end, { kind: 'timed-out' }, what);
      assert.deepEqual(processesWith(word), [], what);
      assert(durationMs < 3_000 + limits.runnerStopMs + 3_000, `${what}: ${durationMs} ms`);
    }),
  );
});

test('E13: a step that ends by itself leaves nobody behind', async (t) => {
  const word = uniqueWord();
  const go = join(tempFolder(t), 'go');
  const exec = [
    'sh',
    '-c',
    `setsid sh -c "sleep 1000" ${word} & sh -c "sleep 1000" ${word} & while [ ! -e ${go} ]; do sleep 0.02; done; exit 7`,
    word,
  ];
  const world = await startRunner(t, { checks: [{ type: 'leaves', exec }] });
  const asked = world.check('leaves');
  await until(() => processesWith(word).length === 3);
  writeFileSync(go, '');
  assert.deepEqual((await asked).end, { kind: 'exited', exitCode: 7 });
  assert.deepEqual(processesWith(word), []);
});

test('E13: without the grace of a KILL the stubborn ones would live: they do while the grace lasts', async (t) => {
  const word = uniqueWord();
  const exec = ['sh', '-c', 'trap "" TERM; while :; do sleep 1; done', word];
  const world = await startRunner(t, { checks: [{ type: 'stubborn', exec, timeout: '2s' }] });
  // As the runner has measured it, from before the start: when the test came to see it begin says nothing.
  const { durationMs } = await world.check('stubborn');
  const leastMs = 2_000 + limits.runnerStopMs - 100;
  assert(durationMs > leastMs, `it was ended after ${durationMs} ms, before its grace was over`);
});

test('E2: a runner that stops what it started tells it to end, ends it after the grace, and has written down how', async (t) => {
  const folder = tempFolder(t);
  const dataDir = join(folder, 'runner');
  const [kind, word] = [uniqueWord(), uniqueWord()];
  const [ready, log] = [join(folder, 'ready'), join(folder, 'log')];
  const checks = [
    {
      type: 'kind',
      exec: [
        'sh',
        '-c',
        `trap 'echo told >> ${log}; exit 0' TERM; : > ${ready}; while :; do sleep 0.05; done`,
        kind,
      ],
      timeout: '1h',
    },
    {
      type: 'stubborn',
      exec: [
        'sh',
        '-c',
        `trap "" TERM; setsid sh -c "trap '' TERM; while :; do sleep 1; done" ${word} & while :; do sleep 1; done`,
        word,
      ],
      timeout: '1h',
    },
  ];
  const first = await startMortal(t, dataDir, { checks, stopsSteps: true });
  const asked = checks.map(({ type }) => first.client.run({ kind: 'check', check: type }, { signal: never }));
  await until(() => existsSync(ready) && processesWith(word).length === 2);
  const startMs = performance.now();
  assert.equal(await first.kill('SIGTERM'), 0);
  const tookMs = performance.now() - startMs;
  assert(tookMs < 15_000, `the stop took ${tookMs} ms`);
  assert.equal(readFileSync(log, 'utf8'), 'told\n', 'TERM came before KILL');
  assert.deepEqual([...processesWith(word), ...processesWith(kind)], []);
  // Whoever waited is told; whoever comes back finds it written down.
  for (const one of asked) assert.deepEqual((await one).end, { kind: 'cancelled' });
});

test('E2: what was stopped while nobody waited is told to whoever asks the next runner', async (t) => {
  const dataDir = join(tempFolder(t), 'runner');
  const word = uniqueWord();
  const checks = [{ type: 'a', exec: ['sh', '-c', 'sleep 1000', word], timeout: '1h' }];
  const first = await startMortal(t, dataDir, { checks, stopsSteps: true });
  const asked = new AbortController();
  const taken = first.client.run({ kind: 'check', check: 'a' }, { signal: asked.signal });
  await until(() => processesWith(word).length === 1);
  asked.abort(new Error('the agent is gone'));
  await assert.rejects(taken, /the agent is gone/);
  await first.kill('SIGTERM');
  assert.deepEqual(processesWith(word), []);
  const second = await startMortal(t, dataDir, { checks });
  const { end } = await second.client.run({ kind: 'check', check: 'a' }, { signal: never });
  assert.deepEqual(end, { kind: 'cancelled' });
});

test('E2: a runner that leaves what it started tells who waits to ask again, and the next one takes it over', async (t) => {
  const folder = tempFolder(t);
  const dataDir = join(folder, 'runner');
  const word = uniqueWord();
  const go = join(folder, 'go');
  const exec = ['sh', '-c', `while [ ! -e ${go} ]; do sleep 0.02; done; exit 4`, word];
  const checks = [{ type: 'a', exec, timeout: '1h' }];
  const first = await startMortal(t, dataDir, { checks });
  const asked = first.client.run({ kind: 'check', check: 'a' }, { signal: never });
  const refused = assert.rejects(asked, /the runner stops; ask again/);
  await until(() => processesWith(word).length === 1);
  assert.equal(await first.kill('SIGTERM'), 0);
  await refused;
  assert(processesWith(word).length > 0, 'it goes on');
  const second = await startMortal(t, dataDir, { checks });
  const again = second.client.run({ kind: 'check', check: 'a' }, { signal: never });
  writeFileSync(go, '');
  assert.deepEqual([(await again).end.kind, (await again).adopted], ['lost', true]);
});

test('E12: a step that has more processes or memory than it may is ended, and its neighbours are not', async (t) => {
  const [many, big] = [uniqueWord(), uniqueWord()];
  const world = await startRunner(t, {
    checks: [
      {
        type: 'many',
        exec: [
          'sh',
          '-c',
          'i=0; while [ $i -lt 200 ]; do sh -c "sleep 1000" "$0" & i=$((i+1)); done; wait',
          many,
        ],
        timeout: '1m',
      },
      // tail keeps what has no end of line.
      {
        type: 'big',
        exec: ['sh', '-c', 'head -c 700M /dev/zero | tail -n 1 | wc -c; sleep 1000', big],
        timeout: '1m',
      },
      { type: 'small', exec: ['sh', '-c', 'sleep 4; echo fine'], timeout: '1m' },
    ],
  });
  const [small, ...ended] = await Promise.all(['small', 'many', 'big'].map((type) => world.check(type)));
  assert.deepEqual(
    ended.map(({ end }) => end),
    [{ kind: 'signalled', signal: 'SIGKILL' }, { kind: 'out-of-memory' }],
  );
  assert.deepEqual([...processesWith(many), ...processesWith(big)], []);
  assert.equal(small?.stdout, 'fine\n');
});

test('E12: the kernel, when it is out of memory, ends a step before the runner', async (t) => {
  const exec = ['cat', '/proc/self/oom_score_adj'];
  const world = await startRunner(t, {
    checks: [{ type: 'score', exec: ['sh', '-c', `sleep 0.1; ${exec.join(' ')}`] }],
  });
  const own = Number(readFileSync('/proc/self/oom_score_adj', 'utf8'));
  assert(Number((await world.check('score')).stdout) > own);
});
