/**
 * What is told of an event: its one line, the thing that it tells of, and whether it says that this is down. Total: an
 * event with a body of another shape has words too, for what stands in the log has to be told.
 */
import type { ChangeEvent } from './event.ts';
import { familyOf } from './notify.ts';

/** What an event says of its subject. `gone`: it is no more, and nothing of it can be down. */
export type Told = 'DOWN' | 'UP' | 'gone' | 'change';

/**
 * The one thing that an event tells of, such as `host 0190…`; two events of the same thing have the same. What says
 * nothing of up or down, such as other labels, is a thing of its own.
 */
export function subjectOf(event: ChangeEvent): string {
  const thing = thingOf(event);
  const family = familyOf(event.type);
  const isOwn = (family === 'host' || family === 'service') && toldBy(event) === 'change';
  return isOwn ? `${event.type}${thing.slice(family.length)}` : thing;
}

function thingOf(event: ChangeEvent): string {
  const { body, host = '' } = event;
  const word = (name: string) => memberOf(body, name) ?? '';
  switch (familyOf(event.type)) {
    case 'service':
      return `service ${word('uuid') || `${event.service ?? ''} ${host}`}`;
    case 'host':
      return `host ${word('id') || host}`;
    case 'component':
      return `component ${host} ${word('detector')} ${word('name')}`;
    case 'release':
      return `release ${word('component')} ${word('train')}`;
    case 'token':
      return `token ${word('id') || `${event.actor} ${word('operation')}`}`;
    case 'system':
      return event.type === 'system.region-lost' ? `region ${word('region')}` : event.type;
    default:
      return `${familyOf(event.type)} ${event.desiredState ?? ''} ${event.app ?? ''} ${event.service ?? ''} ${host}`;
  }
}

/** What it says of the subject. A host that left in order is no fault; a record that lapsed with it is. */
export function toldBy(event: ChangeEvent): Told {
  const { type, body } = event;
  if (type === 'system.region-lost') return 'DOWN';
  if (endings.has(type)) return 'gone';
  if (!standings.has(type)) return 'change';
  const status = memberOf(body, 'status');
  return status === 'DOWN' || status === 'UP' ? status : 'change';
}

const endings: ReadonlySet<string> = new Set([
  'service.deleted',
  'service.taken-over',
  'host.removed',
  'host.revoked',
  'host.left',
]);
/** They say how something stands. */
const standings: ReadonlySet<string> = new Set([
  'service.registered',
  'service.set',
  'service.lapsed',
  'service.revived',
  'host.joined',
  'host.lapsed',
  'host.returned',
]);

/** The region that an event is of; null where it says none. */
export function regionOf({ body }: ChangeEvent): string | null {
  return memberOf(body, 'region') ?? null;
}

/** One line for people, without control characters, of at most 300. The same line: the same thing is told. */
export function titleOf(event: ChangeEvent): string {
  return oneLine(wordsOf(event));
}

/** Printable and on one line, whatever a host called itself. */
export function oneLine(text: string, lengthMax = 300): string {
  const line = text.replace(/[\p{C}\s]+/gu, ' ').trim();
  return [...line].length <= lengthMax ? line : `${[...line].slice(0, lengthMax - 1).join('')}…`;
}

function wordsOf(event: ChangeEvent): string {
  const { type, body, host = 'unknown', service } = event;
  const word = (name: string) => memberOf(body, name) ?? 'unknown';
  const record = `${service ?? word('type')} on ${host}`;
  const because =
    memberOf(body, 'reason') === undefined ? '' : ` (${reasons[word('reason')] ?? word('reason')})`;
  switch (type) {
    case 'service.registered':
      return `${record} is registered, ${word('status')}`;
    case 'service.set':
      return `${record} is ${word('status')}${because}`;
    case 'service.lapsed':
      return `${record} is DOWN${because}`;
    case 'service.revived':
      return `${record} is UP again`;
    case 'service.maintained':
      return maintenanceWords(record, body);
    case 'service.taken-over':
      return `${record} was taken over by another record`;
    case 'service.deleted':
      return `${record} is no longer registered`;
    case 'host.joined':
      return `host ${host} has joined`;
    case 'host.lapsed':
      return `host ${host} is DOWN: it is silent`;
    case 'host.returned':
      return `host ${host} is UP again`;
    case 'host.left':
      return `host ${host} has stopped in order`;
    case 'host.renamed':
      return `host ${host} was called ${event.before?.name ?? 'otherwise'} before`;
    case 'host.labelled':
      return `host ${host} has other labels: ${labelWords(body)}`;
    case 'host.revoked':
      return `host ${host} was revoked`;
    case 'host.removed':
      return `host ${host} was removed`;
    case 'host.cloned':
      return `host ${host} is there twice: two machines claim to be it`;
    case 'component.installed':
      return `${word('name')} ${word('version')} is installed on ${host}`;
    case 'component.changed':
      return `${word('name')} on ${host} is ${word('version')}, was ${word('previousVersion')}`;
    case 'component.removed':
      return `${word('name')} ${word('version')} is removed from ${host}`;
    case 'release.published':
      return `${word('component')} ${word('version')} is released on ${word('train')}`;
    case 'release.changed':
      return `the release ${word('component')} ${word('version')} on ${word('train')} was changed`;
    case 'release.withdrawn':
      return `the release ${word('component')} ${word('version')} on ${word('train')} was withdrawn`;
    case 'release.followed':
      return `train ${word('train')} of ${word('component')} follows ${word('follows')}`;
    case 'release.unfollowed':
      return `train ${word('train')} of ${word('component')} follows none any more`;
    case 'token.issued':
      return `${event.actor} issued a token of role ${word('role')} to ${word('subject')}`;
    case 'token.revoked':
      return `${event.actor} revoked the token of ${word('subject')}`;
    case 'token.refused':
      return `${event.actor} (${word('role')}) was refused ${word('operation')}`;
    case 'system.suspected':
      return `so many hosts are silent at once that the fault may be the registry's: nobody is told DOWN for a while`;
    case 'system.region-lost':
      return `region ${word('region')} is lost: ${countOf(body, 'gone')} of ${countOf(body, 'hosts')} hosts are silent`;
    case 'system.rewound':
      return `the registry's store was rewound (${word('reason')})`;
    case 'system.rotated':
      return `the registry's ${word('what')} was rotated`;
    default:
      return [type as string, event.app, event.service, event.host]
        .filter((one) => one !== undefined)
        .join(' ');
  }
}

const reasons: Readonly<Record<string, string>> = {
  set: 'set by hand',
  lapsed: 'not heard of in time',
  host: 'its host is silent',
  check: 'its check fails',
  left: 'its host has stopped',
};

function maintenanceWords(record: string, body: unknown): string {
  const maintenance = (body as { maintenance?: { end?: unknown; note?: unknown } | null } | null)
    ?.maintenance;
  if (typeof maintenance !== 'object' || maintenance === null) return `${record} is no longer in maintenance`;
  const { end, note } = maintenance;
  const until = typeof end === 'string' ? ` until ${end}` : '';
  return `${record} is in maintenance${until}${typeof note === 'string' && note !== '' ? `: ${note}` : ''}`;
}

function labelWords(body: unknown): string {
  const { labels } = (typeof body === 'object' && body !== null ? body : {}) as { labels?: unknown };
  const entries = Object.entries(typeof labels === 'object' && labels !== null ? labels : {});
  return entries.map(([key, value]) => `${key}=${String(value)}`).join(', ') || 'none';
}

function countOf(body: unknown, name: string): string {
  const value = (typeof body === 'object' && body !== null ? (body as Record<string, unknown>) : {})[name];
  return typeof value === 'number' ? String(value) : 'some';
}

/** A text in the body of an event. */
export function memberOf(body: unknown, name: string): string | undefined {
  if (typeof body !== 'object' || body === null) return undefined;
  const value = (body as Record<string, unknown>)[name];
  return typeof value === 'string' ? value : undefined;
}
