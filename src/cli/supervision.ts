/**
 * How systemd is told about the roles of this process: that their start takes longer, that they serve, that they are
 * alive, that they stop. It is told that they are alive only while every loop of every role moves, so one that is stuck
 * is started anew; how, its unit says (WatchdogSec).
 */
import { limits } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import { type Loop, startLoop } from '../base/loop.ts';
import type { Notifier } from '../base/notify.ts';
import type { Io } from './io.ts';
import type { RunningRole } from './roles.ts';

export interface Supervision {
  /** They serve; from here on the watchdog is fed. */
  ready(roles: readonly RunningRole[]): Promise<void>;
  /** They are on their way out, or have failed to start. Never rejects. */
  stopping(): Promise<void>;
}

/** How often systemd is asked for more time to start; each time for so much, which is until it is asked again. */
const extendEveryMs = 20_000;
const extendByMs = 60_000;

/** Call it before the first role starts. */
export function superviseStart(io: Io, notifier: Notifier, logger: Logger): Supervision {
  if (!notifier.heard) return { ready: () => Promise.resolve(), stopping: () => Promise.resolve() };
  const { clock, random } = io;
  const startedMs = clock.monotonic();
  const every = { clock, random, logger, backoffBaseMs: extendEveryMs, backoffCapMs: extendEveryMs };
  const extending = startLoop({
    ...every,
    name: 'extend-start',
    everyMs: extendEveryMs,
    firstMs: extendEveryMs,
    run: async () => {
      if (clock.monotonic() - startedMs < limits.startExtendedMs) await notifier.extend(extendByMs);
    },
  });
  let watchdog: Loop | undefined;
  return {
    async ready(roles) {
      await extending.stop();
      await notifier.ready(`serving: ${roles.map(({ url }) => url).join(', ')}`);
      const watchdogMs = watchdogMsOf(io);
      if (watchdogMs === undefined) return;
      watchdog = startLoop({
        ...every,
        name: 'watchdog',
        // As sd_watchdog_enabled(3) has it.
        everyMs: watchdogMs / 2,
        firstMs: watchdogMs / 2,
        run: async () => {
          const stuckMs = Math.max(...roles.map((role) => role.stuckMs()));
          if (stuckMs <= limits.stuckMs) return notifier.watchdog();
          logger.error({ stuckMs }, 'a loop is stuck, the watchdog is no longer fed');
        },
      });
    },
    async stopping() {
      await extending.stop();
      await watchdog?.stop();
      await notifier.stopping();
    },
  };
}

/** Undefined when nobody waits for a sign of life of this very process. */
function watchdogMsOf({ env, pid }: Io): number | undefined {
  const us = Number(env['WATCHDOG_USEC']);
  const whose = env['WATCHDOG_PID'];
  if (!(us > 0) || (whose !== undefined && Number(whose) !== pid)) return undefined;
  return us / 1_000;
}
