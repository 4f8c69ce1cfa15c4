/**
 * Writes what silence makes of the records that this agent holds, while there is anybody to wait for. Nobody: it
 * rests until a record changes, as most agents do all day. Somebody: it looks when the next one is due, and each
 * second in any case, for that is how it notices that it stood still itself.
 */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { startLoop } from '../base/loop.ts';
import type { Loops } from '../base/loops.ts';
import type { Random } from '../base/random.ts';
import type { LivenessStore } from '../store/liveness.ts';

export interface SweepOptions {
  readonly own: Pick<LivenessStore, 'sweep' | 'forgive' | 'nextDueMs'>;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly loops?: Loops | undefined;
}

export interface Sweep {
  /** A record has changed. Cheap: between two looks the shortest ttl cannot run out, so only a resting one looks. */
  changed(): void;
  /** Awaits the look in progress. Never rejects. */
  stop(): Promise<void>;
}

/** Looks are not closer than this, however many records are due one after the other. */
const apartMs = 250;
/** Looks are not farther apart than this while somebody is waited for; a fifth of the shortest ttl. */
const everyMs = 1_000;
/** A look that comes later than this was held up: nobody could be heard meanwhile, so nobody is to blame. */
const lagMaxMs = 1_000;

export function startSweep({ own, ...shared }: SweepOptions): Sweep {
  const { clock } = shared;
  let lastMs = clock.monotonic();
  let plannedMs = 0;
  /** Also while it looks: what changes then may have come too late for this look. */
  let resting = true;
  const loop = startLoop({
    ...shared,
    name: 'sweep',
    backoffBaseMs: 1_000,
    backoffCapMs: 10_000,
    run: async () => {
      const elapsedMs = clock.monotonic() - lastMs;
      const lateMs = elapsedMs - plannedMs;
      lastMs += elapsedMs;
      // What a look that fails is followed by was not planned.
      plannedMs = 0;
      resting = true;
      // All of it, as it may have stood still from the last look on.
      if (lateMs > lagMaxMs) own.forgive(elapsedMs);
      else await own.sweep();
      const dueMs = own.nextDueMs();
      resting = dueMs === Number.POSITIVE_INFINITY;
      plannedMs = resting ? dueMs : Math.min(Math.max(dueMs - clock.monotonic(), apartMs), everyMs);
      return { nextMs: plannedMs };
    },
  });
  return {
    changed() {
      if (resting) loop.wake();
    },
    stop: () => loop.stop(),
  };
}
