/**
 * What a heartbeat's answer tells about the two stores, and what has to follow. Pure.
 *
 * Each side shows the other the end of its own log and the furthest it has seen of the other's. A store that was put
 * back to an earlier state cannot notice that by itself (`integrity_check` says "ok"); its peer, who remembers, can.
 */
import type { Mark } from '../domain/event.ts';
import type { Beat, BeatAnswer } from '../domain/host.ts';

/** What the agent knew when it sent the beat, so that an answer that crossed another call is not misread. */
export interface SentBeat {
  readonly beat: Beat;
  /** The outbox as of then. */
  readonly outbox: { readonly active: boolean; readonly epoch: number; readonly ackedSeq: number };
  /** Whether the registry had then acknowledged the inventory whose hash the beat carries. */
  readonly inventoryAcked: boolean;
}

export interface SyncInput extends SentBeat {
  readonly answer: BeatAnswer;
  /** The end of our own log now. */
  readonly head: Mark;
  /** The hash of our own log at the revision `answer.seen` names; null when it is not, or no longer, there. */
  readonly ownHashAtSeen: string | null;
}

export interface SyncDecision {
  /** Our own store was put back: begin a new life, at least this epoch. Null: it was not. */
  readonly ownRewoundAtLeast: number | null;
  /** The two sides disagree about what is in effect there: reports and inventory are sent anew. */
  readonly resend: 'nothing' | 'inventory' | 'everything';
  /** Why, for the log and for people; null when all is well. */
  readonly reason: string | null;
}

export function decideSync(input: SyncInput): SyncDecision {
  const { answer, beat } = input;
  const ahead = ownRewind(input);
  if (ahead !== null && answer.seen !== null) {
    const reason = `the registry has seen ${ahead}, this store was put back`;
    return { ownRewoundAtLeast: answer.seen.epoch + 1, resend: 'everything', reason };
  }
  if (beat.seen !== null && answer.own.epoch > beat.seen.epoch) {
    const reason = `the registry began a new life (${beat.seen.epoch} → ${answer.own.epoch})`;
    return { ownRewoundAtLeast: null, resend: 'everything', reason };
  }
  const behind = outboxDisagreement(input);
  if (behind !== null) return { ownRewoundAtLeast: null, resend: 'everything', reason: behind };
  // `delta` is right while a check-in is pending. When nothing is, the registry has another set than we thought.
  if (answer.checkin === 'complete' || (answer.checkin === 'delta' && input.inventoryAcked)) {
    const expected = answer.checkin === 'complete' && !input.inventoryAcked;
    return {
      ownRewoundAtLeast: null,
      resend: 'inventory',
      reason: expected ? null : 'the registry has another inventory of this host',
    };
  }
  return { ownRewoundAtLeast: null, resend: 'nothing', reason: null };
}

/** What of our log the registry has seen that is not in it; null when all of it is. */
function ownRewind({ answer: { seen }, head, ownHashAtSeen }: SyncInput): string | null {
  // An earlier life than ours: the registry has yet to learn of this one.
  if (seen === null || seen.epoch < head.epoch) return null;
  if (seen.epoch > head.epoch) return `epoch ${seen.epoch}, ours is ${head.epoch}`;
  if (seen.revision > head.revision) return `revision ${seen.revision}, ours is ${head.revision}`;
  // Compacted revisions have no hash to compare any more.
  const differs = ownHashAtSeen !== null && ownHashAtSeen !== seen.hash;
  return differs ? `another revision ${seen.revision} than ours` : null;
}

function outboxDisagreement({ answer: { acked }, outbox }: SyncInput): string | null {
  if (!outbox.active) return null;
  if (acked !== null && acked.epoch > outbox.epoch)
    return `the registry has reports of a later life of the outbox (${acked.epoch})`;
  const has = acked !== null && acked.epoch === outbox.epoch ? acked.seq : 0;
  return has < outbox.ackedSeq
    ? `the registry has ${has} reports, ${outbox.ackedSeq} were acknowledged`
    : null;
}
