import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock } from './clock.ts';

test('FakeClock.advance() runs what is due in order of time, then of creation, each at its own instant', async () => {
  const clock = new FakeClock();
  const ran: string[] = [];
  const note = (name: string) => () => ran.push(`${name}@${clock.monotonic()}`);
  clock.after(20, note('late'));
  clock.after(10, note('first'));
  clock.after(10, note('second'));
  clock.after(30, note('never'));
  await clock.advance(25);
  assert.deepEqual(ran, ['first@10', 'second@10', 'late@20']);
  assert.equal(clock.monotonic(), 25);
  assert.deepEqual(clock.pendingMs, [5]);
});

test('FakeClock.advance() lets a loop of sleeps run as often as it would', async () => {
  const clock = new FakeClock();
  let rounds = 0;
  const stop = new AbortController();
  const loop = (async () => {
    for (;;) {
      await clock.sleep(100, { signal: stop.signal });
      await new Promise<void>((resolve) => clock.nextTurn(resolve));
      rounds += 1;
    }
  })();
  await clock.advance(1_000);
  assert.equal(rounds, 10);
  stop.abort(new Error('enough'));
  await assert.rejects(loop, /enough/);
  assert.deepEqual(clock.pendingMs, []);
});

test('FakeClock.after() does not run what was cancelled', async () => {
  const clock = new FakeClock();
  const cancel = clock.after(10, () => assert.fail('was cancelled'));
  cancel();
  cancel();
  await clock.advance(20);
});

test('FakeClock.sleep() rejects at once when the signal is aborted already', async () => {
  const clock = new FakeClock();
  await assert.rejects(clock.sleep(10, { signal: AbortSignal.abort(new Error('no')) }), /no/);
  assert.deepEqual(clock.pendingMs, []);
});

test('FakeClock.nextTurn() needs no advance', async () => {
  const clock = new FakeClock();
  await new Promise<void>((resolve) => clock.nextTurn(resolve));
});

test('FakeClock.step() moves the wall clock only', async () => {
  const clock = new FakeClock({ startMs: 1_000 });
  clock.after(10, () => assert.fail('time did not pass'));
  clock.step(-500);
  assert.equal(clock.now(), 500);
  assert.equal(clock.monotonic(), 0);
  await clock.settle();
});
