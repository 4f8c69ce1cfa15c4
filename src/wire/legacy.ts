/**
 * The bodies of workflow-manager-api, v2 and v3, as its clients send them: Go's reader matched keys whatever their case
 * and passed over those that it did not know. What is refused is told in its words.
 */
import { formatInstant, parseInstant } from '../base/time.ts';
import { ageText, type Cluster, type ClusterDraft, type ClusterTimes } from '../domain/cluster.ts';
import { AppError } from '../domain/error.ts';
import type { Release, ReleaseContent, ReleaseKey, TrainKey } from '../domain/release.ts';

type Members = Record<string, unknown>;

/** The train of those who name none, on the v2 routes. */
const trainOfV2 = 'beta';

/** Throws `bad-request` for what is no JSON of this shape, `unprocessable` for what is missing. */
export function readCluster(body: unknown): ClusterDraft {
  const { id, components } = objectOf(body, 'body', ['id', 'components']);
  const name = textOf(id, 'id');
  if (name === undefined || name === '') throw required('id');
  const list = listOf(components, 'components');
  if (list === undefined) throw required('components');
  return { id: name, components: list.map((item, index) => readItem(item, `components.${index}`)) };
}

/** A release as it is published at a path; `bad-request` when its body names another one. */
export function readPublication(body: unknown, key: ReleaseKey): ReleaseContent {
  const { component, version } = readParts(body, '');
  if (component === undefined) throw required('component');
  if (version === undefined) throw required('version');
  requireSame('component.name', component['name'], key.component);
  requireSame('version.train', version['train'], key.train);
  requireSame('version.version', version['version'], key.version);
  const { description, fixes, image, ...more } = (version['data'] ?? {}) as Members;
  return {
    releasedMs: readReleased(version['released']),
    description: (description ?? null) as string | null,
    fixes: (fixes ?? null) as string | null,
    image: (image ?? null) as string | null,
    data: Object.keys(more).length === 0 ? null : more,
  };
}

/** The trains that are asked for, each once, in their order. v2 gives those who name none a train; on v3 they get nothing. */
export function readTrains(body: unknown, wire: 'v2' | 'v3'): TrainKey[] {
  const { data } = objectOf(body, 'body', ['data']);
  const asked = (listOf(data, 'data') ?? []).map((item, index) => {
    const place = `data.${index}`;
    if (item === null) throw required(place);
    const { component, version } = readParts(item, `${place}.`);
    const name = component?.['name'];
    if (typeof name !== 'string' || name === '') throw required(`${place}.component`);
    if (version === undefined && wire === 'v3') throw required(`${place}.version`);
    const named = (version?.['train'] ?? '') as string;
    return { component: name, train: named === '' && wire === 'v2' ? trainOfV2 : named };
  });
  const each = new Map(asked.map((key) => [JSON.stringify([key.component, key.train]), key]));
  return [...each.values()].filter(({ train }) => train !== '');
}

/** A doctor report: the document as it is kept, and which cluster it is of, if it says. */
export function readReport(body: unknown): { readonly document: Members; readonly cluster: string | null } {
  const document = objectOf(body, 'body', ['workflow', 'nodes', 'namespaces'], { keep: true });
  const { workflow, nodes, namespaces } = document;
  if (workflow === undefined) throw required('workflow');
  listOf(nodes, 'nodes');
  listOf(namespaces, 'namespaces');
  const known = objectOf(workflow, 'workflow', ['id', 'components', 'firstSeen', 'lastSeen'], { keep: true });
  const id = textOf(known['id'], 'workflow.id') ?? '';
  return { document: { ...document, workflow: known }, cluster: id === '' ? null : id };
}

export function clusterDocument({ id, components, firstSeenMs, lastSeenMs }: Cluster): object {
  return {
    components,
    firstSeen: formatInstant(firstSeenMs),
    id,
    lastSeen: formatInstant(lastSeenMs),
  };
}

/** `now` where the answer tells how long ago the last check-in was. */
export function clusterTimesDocument(times: ClusterTimes, now?: number): object {
  const { id, firstSeenMs, lastSeenMs, checkins } = times;
  return {
    checkins,
    clusterAge: ageText(firstSeenMs, lastSeenMs),
    clusterID: id,
    firstSeen: formatInstant(firstSeenMs),
    ...(now === undefined ? {} : { lastCheckin: ageText(lastSeenMs, now) }),
    lastSeen: formatInstant(lastSeenMs),
  };
}

export function releaseVersionDocument(release: Release): object {
  const { component, train, version, description, fixes, image, data, releasedMs } = release;
  return {
    component: { name: component },
    version: {
      data: Object.fromEntries([
        ...Object.entries(data ?? {}),
        ...Object.entries({ description, fixes, image }).filter(([, text]) => text !== null),
      ]),
      released: formatReleased(releasedMs),
      train,
      version,
    },
  };
}

/** A bound of a query: the last one counts; undefined when there is none, `unprocessable` when it is no instant. */
export function readBound(query: Readonly<Record<string, unknown>>, name: string): number | undefined {
  const given = query[name];
  const text: unknown = Array.isArray(given) ? given.at(-1) : given;
  if (text === undefined) return undefined;
  const ms = typeof text === 'string' ? strictInstant(text) : undefined;
  if (ms !== undefined) return ms;
  throw new AppError(
    'unprocessable',
    `${name} in query must be of type strfmt.DateTime: ${JSON.stringify(text)}`,
    { field: name },
  );
}

/** `parsing body body from "" failed, because …`, as Go's reader began all its refusals. */
export function unreadable(reason: string): AppError {
  return new AppError('bad-request', `parsing body body from "" failed, because ${reason}`);
}

function readItem(value: unknown, place: string): unknown {
  if (value === null) return null;
  const { component, version, ...more } = readParts(value, `${place}.`);
  return {
    ...(component === undefined ? {} : { component }),
    ...(version === undefined ? {} : { version }),
    ...more,
  };
}

/** A ComponentVersion; empty texts are as if they were not there. */
function readParts(value: unknown, prefix: string): Members & { component?: Members; version?: Members } {
  const place = prefix === '' ? 'body' : prefix.slice(0, -1);
  const parts = objectOf(value, place, ['component', 'version', 'updateAvailable'], { keep: true });
  const { component, version, updateAvailable, ...more } = parts;
  const update = textOf(updateAvailable, `${prefix}updateAvailable`);
  return {
    ...more,
    ...(component === undefined ? {} : { component: readComponent(component, `${prefix}component`) }),
    ...(version === undefined ? {} : { version: readVersion(version, `${prefix}version`) }),
    ...(update === undefined || update === '' ? {} : { updateAvailable: update }),
  };
}

function readComponent(value: unknown, place: string): Members {
  return texts(objectOf(value, place, ['name', 'description', 'type'], { keep: true }), place, [
    'name',
    'description',
    'type',
  ]);
}

function readVersion(value: unknown, place: string): Members {
  const names = ['train', 'version', 'released', 'data'];
  const { data, ...members } = objectOf(value, place, names, { keep: true });
  const version = texts(members, place, ['train', 'version', 'released']);
  if (data === undefined) return version;
  const inData = ['description', 'fixes', 'image'];
  const at = `${place}.data`;
  return { ...version, data: texts(objectOf(data, at, inData, { keep: true }), at, inData) };
}

/** With those members that are texts, and not empty; of other names whatever there is. */
function texts(members: Members, place: string, names: readonly string[]): Members {
  const kept = Object.entries(members).filter(
    ([name, value]) => !names.includes(name) || (textOf(value, `${place}.${name}`) ?? '') !== '',
  );
  return Object.fromEntries(kept);
}

/**
 * An object with its members under the names that are known. Of one name in several spellings the exact one counts, else
 * the last; null is as if it were not there. Others are dropped, unless they are to be kept.
 */
function objectOf(
  value: unknown,
  place: string,
  names: readonly string[],
  { keep = false }: { keep?: boolean } = {},
): Members {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw unreadable(`${place} is ${kindOf(value)}, expected an object`);
  const found = new Map<string, unknown>();
  const exact = new Set<string>();
  for (const [key, member] of Object.entries(value)) {
    const name = names.includes(key) ? key : names.find((known) => fold(known) === fold(key));
    if (name === undefined) {
      if (keep) found.set(key, member);
    } else if (name === key || !exact.has(name)) {
      if (name === key) exact.add(name);
      if (member === null) found.delete(name);
      else found.set(name, member);
    }
  }
  return Object.fromEntries(found);
}

/** As Go compares: also the long s and the sign of Kelvin are letters of ours. */
function fold(key: string): string {
  return key.toUpperCase().toLowerCase();
}

function textOf(value: unknown, place: string): string | undefined {
  if (value === undefined || typeof value === 'string') return value;
  if (value === null) return undefined;
  throw unreadable(`${place} is ${kindOf(value)}, expected a string`);
}

function listOf(value: unknown, place: string): readonly unknown[] | undefined {
  if (value === undefined || Array.isArray(value)) return value;
  throw unreadable(`${place} is ${kindOf(value)}, expected a list`);
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined) return 'null';
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

function required(field: string): AppError {
  return new AppError('unprocessable', `${field} in body is required`, { field });
}

function requireSame(field: string, named: unknown, asked: string): void {
  if (named === undefined || named === asked) return;
  throw new AppError(
    'bad-request',
    `${field} in body is ${JSON.stringify(String(named).slice(0, 80))}, but the path says ${JSON.stringify(asked.slice(0, 80))}`,
    { field },
  );
}

function readReleased(value: unknown): number {
  if (value === undefined) throw required('version.released');
  const ms = strictInstant(value as string);
  if (ms !== undefined) return ms;
  throw new AppError(
    'unprocessable',
    `version.released in body must be of type strfmt.DateTime: ${JSON.stringify(String(value).slice(0, 80))}`,
    { field: 'released' },
  );
}

/** RFC 3339 with its letters in upper case, as Go reads it. */
function strictInstant(text: string): number | undefined {
  return /[a-z]/.test(text) ? undefined : parseInstant(text);
}

/** `2016-03-31T21:54:39Z`, with a fraction only where there is one. */
function formatReleased(ms: number): string {
  const text = formatInstant(ms);
  return `${text.slice(0, 19)}${text.slice(19, 23).replace(/\.?0{1,3}$/, '')}Z`;
}
