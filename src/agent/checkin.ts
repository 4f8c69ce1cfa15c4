/**
 * Brings the registry's copy of this host's inventory up to date. Level-triggered: it compares the hash of what is
 * installed with the hash that the registry acknowledged, and sends what differs, or all when the registry has
 * nothing that we know of or refuses the difference.
 */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { type Loop, startLoop } from '../base/loop.ts';
import type { Loops } from '../base/loops.ts';
import type { Random } from '../base/random.ts';
import { systemCaller } from '../domain/access.ts';
import { AppError } from '../domain/error.ts';
import type { HostService } from '../domain/services.ts';
import type { LocalInventory } from '../store/local-inventory.ts';
import { within } from './deadline.ts';

export interface CheckInOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly loops?: Loops | undefined;
  readonly hosts: Pick<HostService, 'checkIn'>;
  readonly hostId: string;
  readonly inventory: LocalInventory;
  /** False while the registry does not answer beats, or before every detector has looked once. Woken when that ends. */
  readonly ready: () => boolean;
}

/** A complete check-in of 50,000 components over a slow link. */
export const checkInTimeoutMs = 60_000;
const backoffBaseMs = 1_000;
const backoffCapMs = 60_000;

export function startCheckIn(options: CheckInOptions): Loop {
  const { clock, random, logger, loops, hosts, hostId, inventory, ready } = options;
  return startLoop({ name: 'checkin', clock, random, logger, loops, backoffBaseMs, backoffCapMs, run });

  async function run(): Promise<void> {
    if (!ready() || inventory.ackedHash === inventory.hash) return;
    const checkIn = await inventory.pending();
    if (checkIn === null) return;
    const call = hosts.checkIn(systemCaller, hostId, checkIn);
    const { accepted } = await within(clock, checkInTimeoutMs, 'a check-in', call);
    const complete = checkIn.base === null;
    if (accepted) {
      await inventory.acknowledge(checkIn);
      logger.info(
        { complete, components: checkIn.components.length, removed: checkIn.removed.length },
        'checked in',
      );
    } else if (complete) {
      throw new AppError(
        'internal',
        'Cannot check in: the registry refused the complete inventory, its hash is another than ours',
      );
    } else {
      logger.info({ base: checkIn.base }, 'the registry has another inventory, sending the complete one');
      await inventory.forget();
    }
    // What changed meanwhile, or the complete set.
    return run();
  }
}
