/** What the audit keeps: acts of people and tokens, each as the event that it made. */
import { formatInstant } from '../base/time.ts';
import { type Caller, type Role, systemCaller } from './access.ts';
import type { EventType } from './event.ts';

/** How long entries are kept. */
export const auditKeptMs = 400 * 86_400_000;

export interface AuditEntry {
  /** From 1, one more each. */
  readonly seq: number;
  readonly atMs: number;
  /** The subject of whoever did it. */
  readonly actor: string;
  readonly role: Role;
  /** Null: through a socket, or the program itself. */
  readonly tokenId: string | null;
  readonly type: EventType;
  /** The host that it concerns, by its name then. */
  readonly host: string | null;
  /** Where the change stands in the log: `<epoch>.<revision>`. */
  readonly position: string;
  /** The event's body. */
  readonly body: unknown;
  /** `sha256:` + hex over the hash before and this entry. */
  readonly hash: string;
}

/**
 * Whether an event is an act. Tokens are always: who was given power, who lost it, who was refused. Otherwise what the
 * program does by itself is none, nor what hosts and reporters tell: that is data, and there is much of it. Nor are the
 * components that go with a removed host: its removal is the act.
 */
export function isAudited(caller: Caller, type: EventType): boolean {
  if (type.startsWith('token.')) return true;
  if (type.startsWith('component.')) return false;
  return caller !== systemCaller && caller.role !== 'host' && caller.role !== 'reporter';
}

/** What the hash of an entry is made of, beside the hash before: every column. */
export function auditText(entry: Omit<AuditEntry, 'hash' | 'body'> & { readonly body: string }): string {
  const { seq, atMs, actor, role, tokenId, type, host, position, body } = entry;
  return JSON.stringify([seq, atMs, actor, role, tokenId, type, host, position, body]);
}

/** What a walk along the chain found. `seq` is the first entry that is not as it was written. */
export type AuditVerification = {
  /** The end of the chain as it should be; note it elsewhere, and nobody can cut behind it unseen. */
  readonly head: { readonly seq: number; readonly hash: string };
  /** The first entry that is kept. */
  readonly from: number;
} & ({ readonly ok: true } | { readonly ok: false; readonly seq: number; readonly detail: string });

/** An entry as the wire shows it. */
export interface AuditDocument {
  readonly seq: number;
  readonly at: string;
  readonly actor: string;
  readonly role: Role;
  readonly token: string | null;
  readonly type: EventType;
  readonly host: string | null;
  readonly position: string;
  readonly body: unknown;
  readonly hash: string;
}

export function auditDocument(entry: AuditEntry): AuditDocument {
  const { atMs, tokenId, ...same } = entry;
  return { ...same, at: formatInstant(atMs), token: tokenId };
}
