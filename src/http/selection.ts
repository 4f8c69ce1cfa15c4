/** Which events a watcher gets. A selection is read once into a predicate; nothing is parsed per event. */
import type { Caller } from '../domain/access.ts';
import { AppError } from '../domain/error.ts';
import { type ChangeEvent, eventTypes, type Selection } from '../domain/event.ts';
import { normaliseHostName, requireUuid } from '../domain/ids.ts';
import { formatSelector, matches, parseSelector, type Selectable } from '../domain/selector.ts';
import type { SnapshotItem } from '../domain/services.ts';

/** What selectors may ask of a host. */
export interface HostFacts {
  readonly id: string;
  readonly name: string;
  readonly region: string | null;
  readonly labels: Readonly<Record<string, string>>;
  readonly self: Readonly<Record<string, string>>;
}

export interface CompiledSelection {
  /** Equal for selections that match the same events, so that watchers share the work. */
  readonly key: string;
  /** Null: everything. */
  readonly matches: ((event: ChangeEvent) => boolean) | null;
  /** What a snapshot source is asked for: the same, with names and uuids as they are stored. */
  readonly selection: Selection;
  /** Of what the source gives for it, what the caller may see. Null: everything. */
  readonly shows: ((item: SnapshotItem) => boolean) | null;
}

const families = new Set(eventTypes.map(familyOf));

/**
 * Throws `bad-request` for what can never match: an unknown type, a selector that is none, a uuid that is none.
 * A caller of role `host` gets what it may GET, whatever it selects: service records, and of the hosts itself.
 */
export function compileSelection(
  selection: Selection,
  caller: Caller,
  hostFacts: ((name: string) => HostFacts | undefined) | undefined,
): CompiledSelection {
  const normal = normalise(selection);
  const tests: ((event: ChangeEvent) => boolean)[] = [];
  const own = caller.role === 'host' ? (caller.hostId ?? '') : null;
  if (own !== null) tests.push(hostCallerTest(own, hostFacts));
  if (normal.types !== undefined) tests.push(typeTest(normal.types));
  if (normal.apps !== undefined) tests.push(oneOf(normal.apps, (event) => event.app));
  if (normal.hosts !== undefined) tests.push(hostTest(normal.hosts, hostFacts));
  if (normal.services !== undefined) tests.push(serviceTest(normal.services));
  return {
    key: `${own === null ? '' : `host ${own} `}${JSON.stringify(normal)}`,
    matches: tests.length === 0 ? null : (event) => tests.every((test) => test(event)),
    selection: normal,
    shows: own === null ? null : ({ kind, body }) => kind === 'service' || memberOf(body, 'id') === own,
  };
}

/** What the host `own` may watch. */
function hostCallerTest(
  own: string,
  hostFacts: ((name: string) => HostFacts | undefined) | undefined,
): (event: ChangeEvent) => boolean {
  return ({ type, host = '', body }) => {
    const family = familyOf(type);
    if (family !== 'host') return family === 'service';
    // An event says which host it was; a name may have gone to another since.
    return (memberOf(body, 'id') ?? hostFacts?.(host)?.id) === own;
  };
}

/** One spelling of each value, in one order of fields: it is also the key that watchers are grouped by. */
function normalise({ types, hosts, apps, services }: Selection): Selection {
  return {
    ...(types === undefined ? {} : { types }),
    ...(hosts === undefined ? {} : { hosts: formatSelector(parseSelector(hosts, 'hosts')) }),
    ...(apps === undefined ? {} : { apps }),
    ...(services === undefined
      ? {}
      : {
          services: {
            ...(services.uuid === undefined
              ? {}
              : { uuid: services.uuid.map((text) => requireUuid(text, 'services/uuid')) }),
            ...(services.type === undefined ? {} : { type: services.type }),
            ...(services.host === undefined ? {} : { host: services.host.map(normaliseHostName) }),
            ...(services.region === undefined ? {} : { region: services.region }),
          },
        }),
  };
}

function typeTest(types: readonly string[]): (event: ChangeEvent) => boolean {
  const exact = new Set<string>();
  for (const type of types) {
    if (type.endsWith('.*') && families.has(type.slice(0, -2))) {
      for (const known of eventTypes) if (familyOf(known) === type.slice(0, -2)) exact.add(known);
    } else if ((eventTypes as readonly string[]).includes(type)) exact.add(type);
    else {
      throw new AppError(
        'bad-request',
        `Cannot watch events of type "${type.slice(0, 80)}": there are none; families are ${[...families].map((family) => `${family}.*`).join(' ')}`,
        {
          field: 'types',
        },
      );
    }
  }
  return (event) => exact.has(event.type);
}

function hostTest(
  text: string,
  hostFacts: ((name: string) => HostFacts | undefined) | undefined,
): (event: ChangeEvent) => boolean {
  const selector = parseSelector(text, 'hosts');
  return (event) => {
    // What concerns no host is selected by no selector over hosts, not even by a negative one.
    if (event.host === undefined) return false;
    return matches(selector, selectable(event, hostFacts?.(event.host) ?? factsOfEvent(event.body)));
  };
}

function selectable(
  event: ChangeEvent,
  { id, region, labels = {}, self = {} }: Partial<HostFacts>,
): Selectable {
  const { host: name, service: type, app, channel } = event;
  return { labels, self, automatic: { name, id, region, type, app, channel } };
}

/** What an event says of its own host, for one that is gone or never joined. */
function factsOfEvent(body: unknown): Partial<HostFacts> {
  const { id, region, labels, self } = (
    typeof body === 'object' && body !== null ? body : {}
  ) as Partial<HostFacts>;
  return {
    ...(typeof id === 'string' ? { id } : {}),
    ...(typeof region === 'string' ? { region } : {}),
    ...(typeof labels === 'object' && labels !== null ? { labels } : {}),
    ...(typeof self === 'object' && self !== null ? { self } : {}),
  };
}

function serviceTest(services: NonNullable<Selection['services']>): (event: ChangeEvent) => boolean {
  const { uuid, type, host, region } = services;
  const tests: ((event: ChangeEvent) => boolean)[] = [(event) => familyOf(event.type) === 'service'];
  if (uuid !== undefined) tests.push(oneOf(uuid, (event) => memberOf(event.body, 'uuid')));
  if (type !== undefined) tests.push(oneOf(type, (event) => event.service));
  if (host !== undefined) tests.push(oneOf(host, (event) => event.host));
  if (region !== undefined) tests.push(oneOf(region, (event) => memberOf(event.body, 'region')));
  return (event) => tests.every((test) => test(event));
}

function oneOf(
  list: readonly string[],
  read: (event: ChangeEvent) => string | undefined,
): (event: ChangeEvent) => boolean {
  const wanted = new Set(list);
  return (event) => {
    const value = read(event);
    return value !== undefined && wanted.has(value);
  };
}

function memberOf(body: unknown, name: string): string | undefined {
  if (typeof body !== 'object' || body === null) return undefined;
  const value = (body as Record<string, unknown>)[name];
  return typeof value === 'string' ? value : undefined;
}

function familyOf(type: string): string {
  return type.slice(0, type.indexOf('.'));
}
