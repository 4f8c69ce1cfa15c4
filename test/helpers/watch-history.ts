/**
 * What watchers were told, held against the log: the validators that etcd's robustness tests use, under its names
 * (etcd-io/etcd tests/robustness/validate/watch.go). Each is a function from a history to what is wrong with it.
 */
import { isDeepStrictEqual } from 'node:util';
import { type ChangeEvent, parsePosition, type Selection } from '../../src/domain/event.ts';
import type { WatchMessage } from '../../src/wire/watch.ts';

/** One connection: what it was asked for, and every message that came, as it came. */
export interface Told {
  readonly since: string | null;
  readonly snapshot: boolean;
  readonly messages: WatchMessage[];
}

/** One watcher over all of its connections. */
export interface History {
  readonly name: string;
  readonly select: Selection;
  readonly connections: Told[];
}

/** The log as it is on disk: revisions in order, within one epoch. */
export type Log = readonly { readonly revision: number; readonly events: readonly ChangeEvent[] }[];

type Validator = (history: History, log: Log) => string[];

export const validators: Readonly<Record<string, Validator>> = {
  /** Events never come in another order than that of the log. */
  ordered(history) {
    const wrong: string[] = [];
    for (const { messages } of history.connections) {
      let last: readonly [number, number] = [0, -1];
      for (const event of eventsOf(messages)) {
        const place = placeOf(event);
        if (!isAfter(place, last)) wrong.push(`${place} after ${last}`);
        last = place;
      }
    }
    return wrong;
  },

  /** No event comes twice, also not after a reconnection. */
  unique(history) {
    const seen = new Set<string>();
    const wrong: string[] = [];
    for (const event of allEvents(history)) {
      const place = placeOf(event).join('/');
      if (seen.has(place)) wrong.push(`${place} again`);
      seen.add(place);
    }
    return wrong;
  },

  /** Between where a connection began and the last position that it named, nothing that was selected is missing. */
  reliable(history, log) {
    return history.connections.flatMap((told) => {
      const range = rangeOf(told);
      if (range === undefined) return [];
      const seen = new Set(eventsOf(told.messages).map((event) => placeOf(event).join('/')));
      return expected(log, history.select, range)
        .map((event) => placeOf(event).join('/'))
        .filter((place) => !seen.has(place))
        .map((place) => `${place} is missing in ${range.after}–${range.to}`);
    });
  },

  /** The events of one revision come in one message, all that are selected. */
  atomic(history, log) {
    const wrong: string[] = [];
    for (const { messages } of history.connections) {
      for (const message of messages) {
        if (message.kind !== 'events') continue;
        const revisions = Map.groupBy(message.events, (event) => revisionOf(event.position));
        for (const [revision, events] of revisions) {
          const whole = expected(log, history.select, { after: revision - 1, to: revision });
          if (whole.length !== events.length)
            wrong.push(`${events.length} of ${whole.length} events of ${revision}`);
        }
      }
    }
    return wrong;
  },

  /** A connection goes on exactly where the one before it ended: both together are the log without a seam. */
  resumable(history, log) {
    const wrong: string[] = [];
    let after: number | undefined;
    let seen: ChangeEvent[] = [];
    for (const told of history.connections) {
      const range = rangeOf(told);
      if (range === undefined) continue;
      // A new snapshot begins a new history.
      if (after === undefined || told.snapshot || told.since === null) [after, seen] = [range.after, []];
      seen.push(...eventsOf(told.messages));
      const want = expected(log, history.select, { after, to: range.to });
      if (!isDeepStrictEqual(want.map(placeOf), seen.map(placeOf))) {
        wrong.push(
          `since ${told.since ?? 'its beginning'}: ${seen.length} events up to ${range.to}, expected ${want.length}`,
        );
      }
    }
    return wrong;
  },

  /** After a position was named, nothing at or before it comes, and a position never goes back or beyond the log. */
  bookmarkable(history, log) {
    const wrong: string[] = [];
    const head = log.at(-1)?.revision ?? 0;
    let bookmark = 0;
    for (const { since, snapshot, messages } of history.connections) {
      if (since === null && snapshot) bookmark = 0;
      for (const message of messages) {
        if (message.kind !== 'snapshot' && message.kind !== 'events' && message.kind !== 'progress') continue;
        const position = revisionOf(message.position);
        if (position > head) wrong.push(`${position} is beyond the log, which ends at ${head}`);
        if (message.kind === 'snapshot' ? false : position < bookmark)
          wrong.push(`${position} after ${bookmark}`);
        if (message.kind === 'events') {
          for (const event of message.events) {
            const revision = revisionOf(event.position);
            if (revision <= bookmark) wrong.push(`an event of ${revision} after the position ${bookmark}`);
            if (revision > position) wrong.push(`an event of ${revision} in a message up to ${position}`);
          }
        }
        bookmark = position;
      }
    }
    return wrong;
  },

  /** What comes is what the log holds, and is selected. */
  filter(history, log) {
    const known = new Map(
      log.flatMap(({ events }) => events.map((event) => [placeOf(event).join('/'), event])),
    );
    return allEvents(history).flatMap((event) => {
      const place = placeOf(event).join('/');
      if (!isDeepStrictEqual(known.get(place), event)) return [`${place} is not what the log holds`];
      return isSelected(history.select, event) ? [] : [`${place} was not selected`];
    });
  },

  /** Not etcd's: a snapshot is the state that the log leads to at its position, as far as it is selected. */
  snapshot(history, log) {
    return history.connections.flatMap(({ messages }) => {
      const pages = messages.filter((message) => message.kind === 'snapshot');
      if (pages.at(-1)?.done !== true) return [];
      const positions = new Set(pages.map(({ position }) => position));
      if (positions.size !== 1) return [`its pages are of ${[...positions].join(', ')}`];
      const at = revisionOf(pages[0]?.position ?? '');
      const told = pages.flatMap(({ items }) =>
        items.filter(({ kind }) => kind === 'service').map(({ body }) => lasting(body)),
      );
      const want = [...stateAt(log, at).values()]
        .filter((body) => isInSnapshot(history.select, body))
        .map(lasting);
      const byUuid = (list: Record<string, unknown>[]) =>
        list.sort((a, b) => (String(a['uuid']) < String(b['uuid']) ? -1 : 1));
      return isDeepStrictEqual(byUuid(told), byUuid(want))
        ? []
        : [`the snapshot of ${at} has ${told.length} records, expected ${want.length} (or others)`];
    });
  },
};

/** Everything that is wrong, each with the validator and the watcher. */
export function violations(histories: readonly History[], log: Log): string[] {
  return histories.flatMap((history) =>
    Object.entries(validators).flatMap(([name, validate]) =>
      validate(history, log).map((what) => `${name}: ${history.name}: ${what}`),
    ),
  );
}

/** Where to go on after everything that a connection was told; undefined: begin as it began. */
export function bookmarkOf(messages: readonly WatchMessage[]): string | undefined {
  for (const message of messages.toReversed()) {
    if (message.kind === 'events' || message.kind === 'progress') return message.position;
    if (message.kind === 'snapshot') return message.done ? message.position : undefined;
  }
  return undefined;
}

/** The selected events of the log after `after`, up to `to`. */
export function expected(
  log: Log,
  select: Selection,
  { after, to }: { after: number; to: number },
): ChangeEvent[] {
  return log
    .filter(({ revision }) => revision > after && revision <= to)
    .flatMap(({ events }) => events.filter((event) => isSelected(select, event)));
}

/** Where the last connection that has one ends, and the first began. */
export function rangeOf({ since, snapshot, messages }: Told): { after: number; to: number } | undefined {
  const to = bookmarkOf(messages);
  if (to === undefined) return undefined;
  if (since !== null) return { after: revisionOf(since), to: revisionOf(to) };
  const [first] = messages;
  if (first?.kind === 'snapshot' && snapshot)
    return { after: revisionOf(first.position), to: revisionOf(to) };
  // It began at the present, which the first message tells: a progress, or the events right after it.
  if (first?.kind === 'progress') return { after: revisionOf(first.position), to: revisionOf(to) };
  const [event] = eventsOf(messages);
  return event === undefined ? undefined : { after: revisionOf(event.position) - 1, to: revisionOf(to) };
}

export function eventsOf(messages: readonly WatchMessage[]): ChangeEvent[] {
  return messages.flatMap((message) => (message.kind === 'events' ? message.events : []));
}

/** The service records after a revision, by uuid. */
export function stateAt(log: Log, at: number): Map<string, Record<string, unknown>> {
  const state = new Map<string, Record<string, unknown>>();
  for (const { revision, events } of log) {
    if (revision > at) break;
    for (const { type, body } of events) {
      if (!type.startsWith('service.')) continue;
      const record = body as Record<string, unknown>;
      if (type === 'service.deleted' || type === 'service.taken-over') state.delete(String(record['uuid']));
      else state.set(String(record['uuid']), record);
    }
  }
  return state;
}

/** FORMATS "select", written down a second time. Selectors over hosts: only `@name=…`. */
function isSelected({ types, hosts, services }: Selection, event: ChangeEvent): boolean {
  if (
    types !== undefined &&
    !types.some(
      (type) => type === event.type || (type.endsWith('.*') && event.type.startsWith(type.slice(0, -1))),
    )
  )
    return false;
  if (hosts !== undefined && `@name=${event.host}` !== hosts) return false;
  if (services === undefined) return true;
  if (!event.type.startsWith('service.')) return false;
  const body = event.body as Record<string, unknown>;
  // What leaves a selection is told to those whom it leaves.
  return selectsBody({ services }, body) || selectsBody({ services }, { ...body, ...event.before });
}

/** Snapshots hold records, not events: of `types` only the families count. */
function isInSnapshot(select: Selection, body: Record<string, unknown>): boolean {
  return select.types?.some((type) => type.startsWith('service.')) !== false && selectsBody(select, body);
}

function selectsBody({ hosts, services = {} }: Selection, body: Record<string, unknown>): boolean {
  if (hosts !== undefined && `@name=${body['host']}` !== hosts) return false;
  return Object.entries(services).every(([name, values]) => values.includes(String(body[name])));
}

/** A record without what only memory knows. */
function lasting(body: unknown): Record<string, unknown> {
  const { confirmed: _confirmed, lastSeen: _lastSeen, ...rest } = body as Record<string, unknown>;
  return rest;
}

function allEvents({ connections }: History): ChangeEvent[] {
  return connections.flatMap(({ messages }) => eventsOf(messages));
}

function placeOf({ position, index }: ChangeEvent): readonly [number, number] {
  return [revisionOf(position), index];
}

function revisionOf(position: string): number {
  return parsePosition(position).revision;
}

function isAfter(
  [revision, index]: readonly [number, number],
  [lastRevision, lastIndex]: readonly [number, number],
): boolean {
  return revision > lastRevision || (revision === lastRevision && index > lastIndex);
}
