/**
 * Sends the outbox: in order, a batch at a time, the next one when the last is acknowledged. A batch whose answer was
 * lost is sent again with the same numbers, which the registry recognises.
 */
import type { Clock } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import { type Loop, type LoopContext, startLoop } from '../base/loop.ts';
import type { Loops } from '../base/loops.ts';
import type { Random } from '../base/random.ts';
import { systemCaller } from '../domain/access.ts';
import { AppError, type ErrorCode, isAppError } from '../domain/error.ts';
import type { HostService, ReportBatch } from '../domain/services.ts';
import type { Acked, Outbox } from '../store/outbox.ts';
import { within } from './deadline.ts';

export interface OutboxSenderOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly loops?: Loops | undefined;
  readonly hosts: Pick<HostService, 'report'>;
  readonly hostId: string;
  readonly outbox: Outbox;
  /** False while the registry does not answer beats. Woken when it does. */
  readonly ready: () => boolean;
  /** The registry misses reports that it had acknowledged: they have to be told in another way. */
  readonly onConflict: (acked: Acked, reason: string) => Promise<void>;
  /** The registry acknowledges reports that were never sent. */
  readonly onAhead: (acked: Acked) => Promise<void>;
}

/** A batch of a thousand reports over a slow link, or one report of all records. */
export const reportTimeoutMs = 30_000;
const backoffBaseMs = 500;
const backoffCapMs = 60_000;

/** The registry will never take this batch as it is, however often it is sent. */
const refusals: readonly ErrorCode[] = ['bad-request', 'unprocessable', 'too-large'];

export function startOutboxSender(options: OutboxSenderOptions): Loop {
  const { clock, random, logger, loops, hosts, hostId, outbox, ready, onConflict, onAhead } = options;
  /** Smaller while a report that the registry refuses is being singled out. */
  let itemsMax = limits.reportBatchMax;
  return startLoop({ name: 'outbox', clock, random, logger, loops, backoffBaseMs, backoffCapMs, run });

  async function run({ signal, progress }: LoopContext): Promise<void> {
    while (ready() && !signal.aborted && outbox.status().pending > 0) {
      const batch = await outbox.cut({ items: itemsMax, bytes: limits.reportBatchBytes });
      if (batch === null) return;
      await send(batch);
      progress();
    }
  }

  async function send(batch: ReportBatch): Promise<void> {
    let acked: number;
    try {
      const call = hosts.report(systemCaller, hostId, batch);
      ({ acked } = await within(clock, reportTimeoutMs, 'a batch of reports', call));
    } catch (error) {
      if (isAppError(error, 'conflict')) return disagree(batch, error);
      if (error instanceof AppError && refusals.includes(error.code)) return refused(batch, error);
      throw error;
    }
    itemsMax = limits.reportBatchMax;
    const before = outbox.status().ackedSeq;
    const result = await outbox.ack({ epoch: batch.epoch, seq: acked });
    if (result === 'ahead') return onAhead({ epoch: batch.epoch, seq: acked });
    if (outbox.status().epoch === batch.epoch && outbox.status().ackedSeq === before) {
      throw new AppError(
        'unavailable',
        `Cannot send reports: the registry acknowledged ${acked} of ${batch.items.at(-1)?.seq}, none of this batch`,
      );
    }
  }

  async function disagree(batch: ReportBatch, error: AppError): Promise<void> {
    const { expected, epoch } = error.details;
    // Of a later life than ours nothing is known but that it is.
    const later = typeof epoch === 'number' && epoch > batch.epoch;
    const seq = typeof expected === 'number' ? Math.max(0, expected - 1) : 0;
    await onConflict(later ? { epoch, seq: 0 } : { epoch: batch.epoch, seq }, error.message);
  }

  async function refused(batch: ReportBatch, error: AppError): Promise<void> {
    const [first] = batch.items;
    if (first === undefined || batch.items.length > 1) {
      itemsMax = Math.ceil(batch.items.length / 2);
      return;
    }
    const fields = { err: error, type: first.type, seq: first.seq };
    if (first.type === 'services') {
      // It ends what nobody holds any more, and later reports build on it: without it both sides differ for good.
      logger.error(fields, 'the registry refuses the report of all records, it stays queued');
      throw error;
    }
    logger.error(fields, 'gave up a report that the registry refuses');
    await outbox.discard({ epoch: batch.epoch, seq: first.seq });
    itemsMax = limits.reportBatchMax;
  }
}
