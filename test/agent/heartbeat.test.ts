import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { type HeartbeatOptions, nextBeatInMs, phaseOf, startHeartbeat } from '../../src/agent/heartbeat.ts';
import { silentLogger } from '../../src/base/log.ts';
import { AppError } from '../../src/domain/error.ts';
import { type Beat, type BeatAnswer, hostDeadlineMs } from '../../src/domain/host.ts';
import { FakeClock } from '../helpers/clock.ts';
import { SeededRandom } from '../helpers/random.ts';
import { never } from './fleet.ts';

const mark = { epoch: 1, revision: 1, hash: `sha256:${'0'.repeat(64)}` };

function answerOf(more: Partial<BeatAnswer> = {}): BeatAnswer {
  return {
    intervalMs: 10_000,
    spreadMs: 20_000,
    nowMs: 0,
    own: mark,
    seen: null,
    checkin: 'none',
    target: null,
    acked: null,
    ...more,
  };
}

/** A heartbeat to a registry that answers what `answer` says; times are since the start. */
function start(
  answer: (beat: Beat, index: number) => Promise<BeatAnswer>,
  more: Partial<HeartbeatOptions> = {},
) {
  const clock = new FakeClock();
  const startMs = clock.monotonic();
  const atMs: number[] = [];
  const beats: Beat[] = [];
  const returned: boolean[] = [];
  const heartbeat = startHeartbeat({
    clock,
    random: new SeededRandom(7),
    logger: silentLogger,
    hosts: {
      beat: (_, __, beat) => {
        atMs.push(clock.monotonic() - startMs);
        beats.push(beat);
        return answer(beat, beats.length - 1);
      },
    },
    hostId: 'host',
    bootId: 'boot',
    machineId: 'machine',
    compose: () => ({
      beat: { own: mark, seen: null, inventory: null },
      outbox: { active: true, epoch: 1, ackedSeq: 0 },
      inventoryAcked: false,
    }),
    onAnswer: async (_, __, how) => {
      returned.push(how.returned);
    },
    ...more,
  });
  return { clock, heartbeat, atMs, beats, returned };
}

const gone = () => Promise.reject(new AppError('unavailable', 'gone'));
const gaps = (atMs: readonly number[]) => atMs.slice(1).map((at, i) => at - (atMs[i] ?? 0));

suite('nextBeatInMs()', () => {
  const inputs = [
    fc.integer({ min: 0, max: 2 ** 45 }),
    fc.integer({ min: 100, max: 600_000 }),
    fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
    fc.double({ min: 0, max: 1, noNaN: true }),
  ] as const;

  test('is never more than 1.6 intervals away, and never less than 0.4', () => {
    fc.assert(
      fc.property(...inputs, (nowMs, intervalMs, phase, jitter) => {
        const waitMs = nextBeatInMs(nowMs, intervalMs, phase, jitter) / intervalMs;
        return waitMs >= 0.3999 && waitMs <= 1.6001;
      }),
    );
  });

  test('falls within a tenth of an interval of the phase', () => {
    fc.assert(
      fc.property(...inputs, (nowMs, intervalMs, phase, jitter) => {
        const at = (nowMs + nextBeatInMs(nowMs, intervalMs, phase, jitter)) / intervalMs - phase;
        return Math.abs(at - Math.round(at)) <= 0.1001;
      }),
    );
  });

  test('keeps 1.2 intervals at most between beats that keep their phase', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 3, maxLength: 50 }),
        inputs[2],
        (jitters, phase) => {
          let nowMs = 1_700_000_000_000 + nextBeatInMs(1_700_000_000_000, 10_000, phase, 0.5);
          return jitters.every((jitter) => {
            const waitMs = nextBeatInMs(nowMs, 10_000, phase, jitter);
            nowMs += waitMs;
            return waitMs >= 7_999 && waitMs <= 12_001;
          });
        },
      ),
    );
  });

  test('spreads hosts evenly', () => {
    const counts = new Array<number>(10).fill(0);
    for (let n = 0; n < 10_000; n += 1) {
      const tenth = Math.floor(phaseOf(`host-${n}`) * 10);
      counts[tenth] = (counts[tenth] ?? 0) + 1;
    }
    assert(Math.min(...counts) > 850 && Math.max(...counts) < 1_150, String(counts));
  });
});

suite('startHeartbeat()', () => {
  test('is not connected while what would cure a refusal fails, and waits for as long as that asks', async () => {
    let refused = false;
    const { clock, heartbeat, atMs, returned } = start(
      async () => {
        if (refused) throw new AppError('unauthenticated', 'it has ended');
        return answerOf({ spreadMs: 0 });
      },
      {
        onFailure: () => Promise.reject(new AppError('unavailable', 'not now', { retryAfterMs: 200_000 })),
      },
    );
    await clock.advance(5_000);
    refused = true;
    await clock.advance(20_000);
    const { connected, error } = heartbeat.status();
    assert.deepEqual([connected, error?.message], [false, 'not now']);
    const before = atMs.length;
    await clock.advance(170_000);
    assert.equal(atMs.length, before);
    refused = false;
    await clock.advance(60_000);
    assert.deepEqual(returned.slice(0, 1), [true]);
    assert.ok(returned.slice(1).includes(true), 'it came back');
    await heartbeat.stop({ leaving: false });
  });

  test('beats at once, then at the interval that it is told, numbered', async () => {
    const { clock, heartbeat, atMs, beats } = start(async (_, index) =>
      answerOf({ intervalMs: index < 10 ? 10_000 : 30_000 }),
    );
    await clock.advance(400_000);
    assert.equal(atMs[0], 0);
    for (const gap of gaps(atMs).slice(1, 9)) assert(gap >= 8_000 && gap <= 12_000, `${gap}`);
    for (const gap of gaps(atMs).slice(11)) assert(gap >= 24_000 && gap <= 36_000, `${gap}`);
    assert.deepEqual(
      beats.map(({ seq }) => seq),
      beats.map((_, i) => i + 1),
    );
    assert(beats.every(({ leaving, bootId }) => !leaving && bootId === 'boot'));
    await heartbeat.stop({ leaving: false });
  });

  test('waits within the spread once, then backs off to one and a half intervals, and says when it is back', async () => {
    let up = true;
    const { clock, heartbeat, atMs, returned } = start(() => (up ? Promise.resolve(answerOf()) : gone()));
    await clock.advance(60_000);
    up = false;
    atMs.length = 0;
    await clock.advance(3_600_000);
    const [first = 0, ...later] = gaps(atMs);
    assert(first <= 20_000, `${first}`);
    for (const [i, gap] of later.slice(0, 4).entries())
      assert(gap >= 500 * 2 ** i && gap <= 1_000 * 2 ** i, `${i}: ${gap}`);
    for (const gap of later.slice(4)) assert(gap >= 7_500 && gap <= 15_000, `${gap}`);
    assert.equal(heartbeat.status().connected, false);
    assert.equal(heartbeat.status().error?.code, 'unavailable');
    up = true;
    // Within the deadline that a registry gives which has just started.
    await clock.advance(hostDeadlineMs(10_000));
    assert.equal(heartbeat.status().connected, true);
    assert.equal(heartbeat.status().error, null);
    assert.deepEqual(returned.filter(Boolean).length, 2);
    await heartbeat.stop({ leaving: false });
  });

  test('obeys Retry-After, up to ten minutes', async () => {
    let retryAfterMs = 120_000;
    const { clock, heartbeat, atMs } = start((_, index) =>
      index === 0
        ? Promise.resolve(answerOf())
        : Promise.reject(new AppError('unavailable', 'later', { retryAfterMs })),
    );
    await clock.advance(1_500_000);
    const [, ...waits] = gaps(atMs);
    for (const wait of waits) assert(wait >= 120_000 && wait <= 180_000, `${wait}`);
    retryAfterMs = 10 ** 12;
    atMs.length = 0;
    await clock.advance(3_600_000);
    for (const wait of gaps(atMs)) assert(wait >= 600_000 && wait <= 700_000, `${wait}`);
    await heartbeat.stop({ leaving: false });
  });

  test('takes no answer within the interval for a failure', async () => {
    const { clock, heartbeat, beats } = start((_, index) =>
      index === 0 ? Promise.resolve(answerOf()) : never(),
    );
    await clock.advance(30_000);
    assert.equal(heartbeat.status().connected, false);
    await clock.advance(60_000);
    assert(beats.length > 2);
    await heartbeat.stop({ leaving: false });
  });

  test('keeps within bounds whatever interval it is told', async () => {
    for (const intervalMs of [0, -5, 1e300]) {
      const { clock, heartbeat, beats } = start(async () => answerOf({ intervalMs }));
      await clock.advance(2_000);
      assert(beats.length >= 1 && beats.length <= 60, `${intervalMs}: ${beats.length}`);
      await heartbeat.stop({ leaving: false });
    }
  });

  test('goes on when its answer could not be acted upon', async () => {
    const { clock, heartbeat, beats } = start(async () => answerOf(), {
      onAnswer: () => Promise.reject(new Error('disk full')),
    });
    await clock.advance(60_000);
    assert(beats.length >= 5);
    assert.equal(heartbeat.status().connected, true);
    await heartbeat.stop({ leaving: false });
  });

  test('says goodbye when it leaves, for two seconds at most, and only to a registry that answers', async () => {
    let answer = () => Promise.resolve(answerOf());
    const { clock, heartbeat, beats } = start(() => answer());
    await clock.advance(1_000);
    answer = () => never();
    let stopped = false;
    const stopping = heartbeat.stop({ leaving: true }).then(() => {
      stopped = true;
    });
    await clock.advance(1_900);
    assert.equal(stopped, false);
    assert.equal(beats.at(-1)?.leaving, true);
    await clock.advance(200);
    await stopping;
    assert.deepEqual(clock.pendingMs, []);

    const silent = start(gone);
    await silent.clock.advance(1_000);
    await silent.heartbeat.stop({ leaving: true });
    assert(silent.beats.every(({ leaving }) => !leaving));
  });

  test('stops in the middle of a beat that hangs', async () => {
    const { clock, heartbeat } = start(() => never());
    await clock.advance(1_000);
    await heartbeat.stop({ leaving: true });
    assert.deepEqual(clock.pendingMs.length <= 1, true);
  });
});
