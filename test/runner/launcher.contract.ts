/** What every launcher promises (src/runner/launcher.ts), asked of it alone: no records, no socket, no duties around it. */
import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { test } from 'node:test';
import { isAppError } from '../../src/domain/error.ts';
import type { Launch, Launcher, Running } from '../../src/runner/launcher.ts';
import { until } from '../helpers/until.ts';
import { processesWith, uniqueWord } from './processes.ts';
import type { Test } from './world.ts';

/** `make` gives a launcher; those of one test that are given the same `place` are one after another on one host. */
export interface LauncherSubject {
  make(t: Test, place: string): Launcher;
}

const limits = { memoryBytes: 256 * 2 ** 20, tasks: 64, cpuPercent: 100 };

function order(name: string, command: readonly string[], more: Partial<Launch> = {}): Launch {
  const env = { PATH: '/usr/bin:/bin', WHO: 'the test' };
  return { name, command, user: null, env, timeoutMs: 60_000, limits, ...more };
}

/** All that it writes, when it has ended. */
async function outputOf(running: Running): Promise<{ stdout: string; stderr: string }> {
  const pieces: Record<'stdout' | 'stderr', Uint8Array[]> = { stdout: [], stderr: [] };
  running.onOutput((stream, chunk) => pieces[stream].push(chunk));
  await running.ended;
  const text = (stream: 'stdout' | 'stderr') => Buffer.concat(pieces[stream]).toString();
  return { stdout: text('stdout'), stderr: text('stderr') };
}

export function launcherContract({ make }: LauncherSubject): void {
  test('launcher: a command runs with its arguments and its environment, and ends with its output and its code', async (t) => {
    const launcher = make(t, 'here');
    const script = 'printf "%s|" "$@"; echo "$WHO" >&2; exit 9';
    const running = await launcher.launch(order('whole', ['sh', '-c', script, 'sh', 'a b', '$(id)', '']));
    assert.deepEqual([running.name, running.adopted], ['whole', false]);
    assert.deepEqual(await outputOf(running), { stdout: 'a b|$(id)||', stderr: 'the test\n' });
    assert.deepEqual(await running.ended, { kind: 'exited', exitCode: 9 });
  });

  test('launcher: a command finds its input on stdin, and then the end; without input only the end', async (t) => {
    const launcher = make(t, 'here');
    const input = `${'0123456789abcdef'.repeat(16_383)}the end\n`;
    const read = await outputOf(await launcher.launch(order('reads', ['sha256sum'], { input })));
    assert.equal(read.stdout, `${hash('sha256', input)}  -\n`);
    const none = await outputOf(await launcher.launch(order('nothing', ['sha256sum'])));
    assert.equal(none.stdout, `${hash('sha256', '')}  -\n`);
    const deaf = await launcher.launch(order('deaf', ['true'], { input }));
    assert.deepEqual(await deaf.ended, { kind: 'exited', exitCode: 0 });
  });

  test('launcher: a signal, a time limit and a stop are told apart', async (t) => {
    const launcher = make(t, 'here');
    const ends = await Promise.all(
      [
        order('killed', ['sh', '-c', 'kill -KILL $$']),
        order('late', ['sleep', '1000'], { timeoutMs: 300 }),
        order('stopped', ['sleep', '1000']),
      ].map(async (one) => {
        const running = await launcher.launch(one);
        if (one.name === 'stopped') await running.stop({ graceMs: 5_000 });
        return (await running.ended).kind;
      }),
    );
    assert.deepEqual(ends, ['signalled', 'timed-out', 'cancelled']);
  });

  test('launcher: a name runs once at a time, and is free when all of it has ended', async (t) => {
    const launcher = make(t, 'here');
    const word = uniqueWord();
    const one = order('twice', ['sh', '-c', 'sleep 1000 & echo on; wait', word]);
    const [first, ...others] = await Promise.allSettled([one, one, one].map((each) => launcher.launch(each)));
    assert(first?.status === 'fulfilled');
    for (const other of others)
      assert(other.status === 'rejected' && isAppError(other.reason, 'conflict'), JSON.stringify(other));
    await until(() => processesWith(word).length === 1);
    await first.value.stop({ graceMs: 5_000 });
    assert.deepEqual(processesWith(word), []);
    const again = await launcher.launch(order('twice', ['true']));
    assert.deepEqual(await again.ended, { kind: 'exited', exitCode: 0 });
  });

  test('launcher: what cannot start is refused with the reason, and its name is free', async (t) => {
    const launcher = make(t, 'here');
    for (const [command, user] of [
      [['/nonexistent/program'], null],
      [['/etc/passwd'], null],
      [['true'], 'no-such-user'],
    ] as const)
      await assert.rejects(
        launcher.launch(order('wrong', command, { user })),
        (error) => isAppError(error, 'unprocessable') && /^Cannot start /.test(error.message),
        command[0],
      );
    const running = await launcher.launch(order('wrong', ['true']));
    assert.equal((await running.ended).kind, 'exited');
  });

  test('launcher: a stop lets what is kind end itself, and ends what is not after the grace', async (t) => {
    const launcher = make(t, 'here');
    const [kind, stubborn] = [uniqueWord(), uniqueWord()];
    const [first, second] = await Promise.all([
      launcher.launch(
        order('kind', [
          'sh',
          '-c',
          'trap "echo bye; exit 0" TERM; echo ready; while :; do sleep 0.05; done',
          kind,
        ]),
      ),
      launcher.launch(
        order('stubborn', ['sh', '-c', 'trap "" TERM; echo ready; while :; do sleep 1; done', stubborn]),
      ),
    ]);
    const said = [first, second].map(() => '');
    for (const [index, one] of [first, second].entries())
      one.onOutput((_stream, chunk) => {
        said[index] += Buffer.from(chunk).toString();
      });
    await until(() => said.every((text) => text === 'ready\n'));
    await Promise.all([first, second].map((one) => one.stop({ graceMs: 1_000 })));
    // Some shells also tell of their child that was told to end with them.
    assert.match(said[0] ?? '', /^ready\n(.*\n)?bye\n$/);
    assert.deepEqual([...processesWith(kind), ...processesWith(stubborn)], []);
  });

  test('launcher: what it leaves runs on, and the next one adopts it once and can end it', async (t) => {
    const word = uniqueWord();
    const before = make(t, 'there');
    await before.launch(order('left', ['sh', '-c', 'while :; do sleep 1; done', word]));
    await until(() => processesWith(word).length === 1);
    await before.close({ stop: false });
    const after = make(t, 'there');
    const adopted = await after.adopt();
    assert.deepEqual(
      adopted.map(({ name, adopted: isAdopted }) => [name, isAdopted]),
      [['left', true]],
    );
    assert(processesWith(word).length > 0);
    await assert.rejects(after.launch(order('left', ['true'])), (error) => isAppError(error, 'conflict'));
    await adopted[0]?.stop({ graceMs: 2_000 });
    assert.equal((await adopted[0]?.ended)?.kind, 'cancelled');
    assert.deepEqual(processesWith(word), []);
  });

  test('launcher: closing with a stop ends all that runs, and it starts nothing after', async (t) => {
    const launcher = make(t, 'here');
    const word = uniqueWord();
    const running = await Promise.all(
      ['one', 'two', 'three'].map((name) => launcher.launch(order(name, ['sh', '-c', 'sleep 1000', word]))),
    );
    await until(() => processesWith(word).length === 3);
    await launcher.close({ stop: true });
    for (const one of running) assert.deepEqual(await one.ended, { kind: 'cancelled' });
    assert.deepEqual(processesWith(word), []);
    await assert.rejects(launcher.launch(order('late', ['true'])), (error) =>
      isAppError(error, 'unavailable'),
    );
  });
}
