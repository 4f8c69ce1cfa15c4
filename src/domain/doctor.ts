/**
 * Doctor reports as the registry keeps them: what a host, or a cluster of the old wire format, tells of itself when it
 * is ill. They say much, so admins alone read them, and every reading is an act that the audit keeps.
 */
import { limits } from '../base/limits.ts';
import { formatInstant } from '../base/time.ts';
import { AppError } from './error.ts';
import type { EventDraft, EventType } from './event.ts';
import { isPrintable, requirePrintable } from './ids.ts';

/** Which wire format a report came in: ours, or that of workflow-manager-api. */
export const doctorWires = ['v1', 'v3'] as const;
export type DoctorWire = (typeof doctorWires)[number];

/** A report as it comes in. */
export interface DoctorDraft {
  readonly id: string;
  readonly wire: DoctorWire;
  /** Which host it is of, by its name then; of `v3` the id of the cluster. Null: it does not say. */
  readonly host: string | null;
  /** What a person wrote to it. */
  readonly comment: string | null;
  /** A JSON value, kept as it is. */
  readonly body: unknown;
}

export interface DoctorSummary extends Omit<DoctorDraft, 'body'> {
  /** The subject of whoever sent it. */
  readonly sender: string;
  readonly atMs: number;
  /** Of the body, as JSON. */
  readonly bytes: number;
}

export interface DoctorReport extends DoctorSummary {
  readonly body: unknown;
}

/** A report and the text of its body. */
export interface DoctorFile extends DoctorSummary {
  readonly text: string;
}

/**
 * What to keep of a report; null: it is kept already. Of `v1`, an id is good for one report, and the same again changes
 * nothing; of `v3`, a second one of the same sender takes the place of the first. Throws `bad-request` naming the field, `too-large`, and
 * `conflict` for another report under the id.
 */
export function decideFile(
  before: DoctorFile | null,
  draft: DoctorDraft,
  { sender, now }: { readonly sender: string; readonly now: number },
): DoctorFile | null {
  const { id, wire, host, comment, body } = draft;
  requirePrintable(id, 'id');
  requireHost(host);
  requireComment(comment);
  const text = JSON.stringify(body);
  const bytes = Buffer.byteLength(text);
  if (bytes > limits.doctorReportBytes) {
    throw new AppError(
      'too-large',
      `Cannot keep doctor report ${id}: it takes ${bytes} bytes, expected at most ${limits.doctorReportBytes}; send one of fewer components`,
    );
  }
  const file = { id, wire, host, comment, sender, atMs: now, bytes, text };
  if (before === null) return file;
  const isSame = before.text === text && before.host === host && before.comment === comment;
  if (before.wire === wire && (isSame || (wire === 'v3' && before.sender === sender)))
    return isSame ? null : file;
  throw new AppError(
    'conflict',
    `Cannot keep doctor report ${id}: there is another one under this id, send it under a new one`,
    { field: 'id' },
  );
}

export function doctorNotFound(id: string): AppError {
  return new AppError(
    'not-found',
    `Cannot find doctor report ${JSON.stringify(id.slice(0, 80))}: there is none, or it is older than ${limits.doctorKeptMs / 86_400_000} days`,
  );
}

/** What the log tells of a report: that there is one, and nothing of what it says. */
export function doctorEvent(
  type: Extract<EventType, `doctor.${string}`>,
  { id, wire, host, sender, bytes, atMs }: DoctorSummary,
): EventDraft {
  return {
    type,
    ...(wire === 'v1' && host !== null ? { host } : {}),
    body: { id, wire, host, sender, at: formatInstant(atMs), bytes },
  };
}

function requireHost(host: string | null): void {
  if (host === null || (host.length >= 1 && host.length <= limits.nameLengthMax && isPrintable(host))) return;
  throw new AppError(
    'bad-request',
    `Cannot keep the doctor report: host is ${JSON.stringify(host.slice(0, 80))}, expected 1 to ${limits.nameLengthMax} printable characters`,
    { field: 'host' },
  );
}

function requireComment(comment: string | null): void {
  if (comment === null) return;
  const refuse = (problem: string): AppError =>
    new AppError('bad-request', `Cannot keep the doctor report: comment: ${problem}`, { field: 'comment' });
  if (/(?![\n\r\t])[\p{Cc}\p{Cs}]/u.test(comment)) throw refuse('it holds control characters, expected text');
  const bytes = Buffer.byteLength(comment);
  if (bytes > limits.doctorCommentBytes)
    throw refuse(`it takes ${bytes} bytes, expected at most ${limits.doctorCommentBytes}`);
}
