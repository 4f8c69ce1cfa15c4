/** The one ordered log: positions, events, and what a watcher may select. */
import { AppError } from './error.ts';
import type { Labels } from './labels.ts';

/** Where in the log: one life of a store (`epoch`, UTC ms of its creation) and one service call's events (`revision`). */
export interface Position {
  readonly epoch: number;
  readonly revision: number;
}

/** A position and the hash of the chain up to it: what two stores show each other to notice a rewind. */
export interface Mark extends Position {
  /** `sha256:` + hex; the empty log has the hash of nothing chained. */
  readonly hash: string;
}

export function formatPosition(position: Position): string {
  return `${position.epoch}.${position.revision}`;
}

/** Whether `a` is further than `b`: a later life of the store, or further in the same one. */
export function isAhead(a: Position, b: Position): boolean {
  return a.epoch > b.epoch || (a.epoch === b.epoch && a.revision > b.revision);
}

/** `<epoch>.<revision>`; throws `bad-request` naming `field`. */
export function parsePosition(text: string, field = 'since'): Position {
  const match = /^(\d{1,16})\.(\d{1,16})$/.exec(text);
  const epoch = Number(match?.[1]);
  const revision = Number(match?.[2]);
  if (match !== null && Number.isSafeInteger(epoch) && Number.isSafeInteger(revision))
    return { epoch, revision };
  throw new AppError(
    'bad-request',
    `Cannot read ${field} "${text.slice(0, 80)}": expected <epoch>.<revision>`,
    { field },
  );
}

/** The closed list. `system.*` events speak of the store or the registry itself. */
export const eventTypes = [
  'service.registered',
  'service.set',
  'service.lapsed',
  'service.revived',
  'service.maintained',
  'service.taken-over',
  'service.deleted',
  'host.joined',
  'host.lapsed',
  'host.returned',
  'host.left',
  'host.renamed',
  'host.labelled',
  'host.revoked',
  'host.removed',
  'host.cloned',
  'component.installed',
  'component.changed',
  'component.removed',
  'release.published',
  'release.changed',
  'release.withdrawn',
  'release.followed',
  'release.unfollowed',
  'doctor.filed',
  'doctor.read',
  'doctor.removed',
  'token.issued',
  'token.revoked',
  'token.refused',
  'system.suspected',
  'system.region-lost',
  'system.rewound',
  'system.rotated',
] as const;
export type EventType = (typeof eventTypes)[number];

/** One change, before it has a place in the log. `body` is the record after the change (deleted: before), as the wire shows it. */
export interface EventDraft {
  readonly type: EventType;
  /** The host's unique name. */
  readonly host?: string;
  readonly app?: string;
  /** A service record's type, or `app/service`. */
  readonly service?: string;
  readonly channel?: string;
  readonly desiredState?: string;
  readonly before?: Before;
  readonly body: unknown;
}

/**
 * What selectors saw of an event's subject before, of the members that the event changed: `name` is a host's own,
 * `host` and `type` are a record's. With it, whoever watches a selection is told what leaves it.
 */
export interface Before {
  readonly name?: string;
  readonly host?: string;
  readonly type?: string;
  readonly region?: string | null;
  readonly labels?: Labels;
  readonly self?: Labels;
}

/** An event as watchers get it. Instants are RFC 3339 here: this is the stored and the wire form. */
export interface ChangeEvent extends EventDraft {
  readonly position: string;
  readonly index: number;
  readonly at: string;
  readonly actor: string;
}

/** One committed revision. `encoded` is the JSON array of its events, made once and shared by every watcher. */
export interface Revision {
  readonly revision: number;
  readonly events: readonly ChangeEvent[];
  readonly encoded: string;
}

/** What a watcher wants; every named field must match (AND), inside a list any (OR). Absent means all. */
export interface Selection {
  /** Exact types, or a family: `service.*`. */
  readonly types?: readonly string[];
  /** A selector over hosts. */
  readonly hosts?: string;
  readonly apps?: readonly string[];
  /** Only events of these service records. */
  readonly services?: {
    readonly uuid?: readonly string[];
    readonly type?: readonly string[];
    readonly host?: readonly string[];
    readonly region?: readonly string[];
  };
}
