/**
 * Which events a watcher gets. A selection is read once into a predicate; nothing is parsed per event.
 *
 * An event is judged by what it tells of as it was before and as it is after: the event that moves a host or a record
 * out of a selection is delivered, and so is the one that moves it in. Both are as of the event's own revision
 * (host-history.ts), so that a watch that resumes is told what it would have been told then.
 */
import type { Caller } from '../domain/access.ts';
import { AppError } from '../domain/error.ts';
import { type ChangeEvent, eventTypes, parsePosition, type Selection } from '../domain/event.ts';
import { type HostFacts, selectableHost } from '../domain/host.ts';
import { normaliseHostName, requireUuid } from '../domain/ids.ts';
import { Scope } from '../domain/scope.ts';
import { formatSelector, matches, parseSelector, type Selector } from '../domain/selector.ts';
import type { SnapshotItem } from '../domain/services.ts';
import { factsOf, type HostHistory } from './host-history.ts';

export interface CompiledSelection {
  /** Equal for selections that match the same events, so that watchers share the work. */
  readonly key: string;
  /** Null: everything. */
  readonly matches: ((event: ChangeEvent) => boolean) | null;
  /** Awaited before events after this revision are matched; null: nothing to wait for. */
  readonly reach: ((revision: number) => Promise<void>) | null;
  /** What a snapshot source is asked for: the same, with names and uuids as they are stored. */
  readonly selection: Selection;
  /** A selected event as its watcher may see it; null: as it is. */
  readonly shown: ((event: ChangeEvent) => ChangeEvent) | null;
  /** Of what the source gives for it, what the caller may see. Null: everything. */
  readonly shows: ((item: SnapshotItem) => boolean) | null;
}

type EventTest = (event: ChangeEvent) => boolean;

/** What an event tells of, at one moment. */
interface State {
  /** The host's name. */
  readonly host: string | undefined;
  /** A record's type. */
  readonly service: string | undefined;
  /** A record's own region, not its host's. */
  readonly region: string | null | undefined;
  readonly facts: HostFacts | undefined;
}

const families = new Set(eventTypes.map(familyOf));
/** They tell of nothing that is there afterwards. */
const endings: ReadonlySet<string> = new Set([
  'host.removed',
  'service.deleted',
  'service.taken-over',
  'component.removed',
]);
const beginnings: ReadonlySet<string> = new Set(['host.joined', 'service.registered', 'component.installed']);
/** They may move a host, and all that is on it, across a selection without a word of their own about its records. */
const moves: ReadonlySet<string> = new Set(['host.labelled', 'host.renamed']);

/**
 * Throws `bad-request` for what can never match: an unknown type, a selector that is none, a uuid that is none.
 * A caller of role `host` gets what it may GET, whatever it selects: service records, and of the hosts itself.
 * `history` is null where nothing is known of hosts but what events say.
 */
export function compileSelection(
  selection: Selection,
  caller: Caller,
  history: HostHistory | null,
): CompiledSelection {
  const normal = normalise(selection);
  const own = caller.role === 'host' ? (caller.hostId ?? '') : null;
  const tests: EventTest[] = [];
  if (own !== null) tests.push(hostCallerTest(own, history));
  // Who was given power is for those alone who give it.
  const admin = caller.role === 'admin';
  if (!admin) tests.push((event) => !event.type.startsWith('token.'));
  const scope = caller.scope === undefined ? null : new Scope(caller.scope);
  if (scope !== null) tests.push(scopeTest(scope, history));
  const selects = selectionTest(normal, history, scope);
  if (selects !== null) tests.push(selects);
  return {
    key: `${scope === null ? '' : `scope ${scope.key} `}${own === null ? '' : `host ${own} `}${admin ? '' : 'no tokens '}${JSON.stringify(normal)}`,
    matches: tests.length === 0 ? null : (event) => tests.every((test) => test(event)),
    reach:
      history === null || (own === null && scope === null && normal.hosts === undefined)
        ? null
        : (revision) => history.reach(revision),
    selection: normal,
    shown: scope === null ? null : (event) => withoutOutside(event, scope, history),
    shows:
      scope !== null
        ? (item) => isInScope(item, scope, history)
        : own !== null
          ? ({ kind, body }) => kind === 'service' || memberOf(body, 'id') === own
          : null,
  };
}

/** What a token of a scope may watch: what is covered after an event, or was before one that ends it. */
function scopeTest(scope: Scope, history: HostHistory | null): EventTest {
  return (event) => {
    const { before, after } = statesOf(event, history);
    const state = endings.has(event.type) ? before : after;
    return state !== null && covers(scope, event, state);
  };
}

/** What concerns neither a host nor an application, such as the registry itself, is in no scope. */
function covers(scope: Scope, { type, body }: ChangeEvent, { host, service, facts }: State): boolean {
  if (familyOf(type) === 'release') return scope.coversReleases(memberOf(body, 'component') ?? '', 'read');
  if (host === undefined || !scope.coversHost(host, facts)) return false;
  if (familyOf(type) === 'host') return true;
  return scope.coversName(service ?? memberOf(body, 'name') ?? '');
}

/** What comes into a scope does not tell what it was outside. */
function withoutOutside(event: ChangeEvent, scope: Scope, history: HostHistory | null): ChangeEvent {
  if (event.before === undefined) return event;
  const { before } = statesOf(event, history);
  if (before !== null && covers(scope, event, before)) return event;
  const { before: _outside, ...shown } = event;
  return shown;
}

/** Of a snapshot, which tells of the present. */
function isInScope({ kind, body }: SnapshotItem, scope: Scope, history: HostHistory | null): boolean {
  if (kind === 'host') return scope.coversHost(memberOf(body, 'name') ?? '', factsOf(body));
  const [type = '', host = ''] = [memberOf(body, 'type'), memberOf(body, 'host')];
  return scope.coversRecord({ type, host }, history?.at(host, Number.POSITIVE_INFINITY));
}

/** What the host `own` may watch. */
function hostCallerTest(own: string, history: HostHistory | null): EventTest {
  return (event) => {
    const family = familyOf(event.type);
    if (family !== 'host') return family === 'service';
    // An event says which host it was; a name may have gone to another since.
    const { host = '', body, position } = event;
    return (memberOf(body, 'id') ?? history?.at(host, parsePosition(position).revision)?.id) === own;
  };
}

/** Null: everything is selected. */
function selectionTest(
  selection: Selection,
  history: HostHistory | null,
  scope: Scope | null,
): EventTest | null {
  const { types, apps, hosts, services } = selection;
  const ofType = types === undefined ? null : typeTest(types);
  const ofApp = apps === undefined ? null : oneOf(apps, (event) => event.app);
  const onHost = hosts === undefined ? null : hostTest(parseSelector(hosts, 'hosts'));
  const ofRecord = services === undefined ? null : recordTest(services);
  if (ofType === null && ofApp === null && onHost === null && ofRecord === null) return null;
  const uuids = services?.uuid === undefined ? null : new Set(services.uuid);
  return (event) => {
    if (ofApp !== null && !ofApp(event)) return false;
    const named =
      (ofType === null || ofType(event)) &&
      (ofRecord === null || familyOf(event.type) === 'service') &&
      (uuids === null || uuids.has(memberOf(event.body, 'uuid') ?? ''));
    const moving = onHost !== null && moves.has(event.type);
    if (!named && !moving) return false;
    if (onHost === null && ofRecord === null) return true;
    const { before, after } = statesOf(event, onHost === null && scope === null ? null : history);
    // A state outside the scope selects nothing: also that it did would tell of it.
    const on = (state: State) =>
      (scope === null || covers(scope, event, state)) && (onHost === null || onHost(event, state));
    if (!named) return before !== null && after !== null && on(before) !== on(after);
    const selected = (state: State | null) => state !== null && (ofRecord?.(state) ?? true) && on(state);
    return selected(after) || (before !== after && selected(before));
  };
}

/** The same object twice where the event changed nothing that selectors ask for. */
function statesOf(
  event: ChangeEvent,
  history: HostHistory | null,
): { readonly before: State | null; readonly after: State | null } {
  const { type, host, service, before: changed } = event;
  const ofHost = familyOf(type) === 'host';
  const bodyFacts = ofHost ? factsOf(event.body) : undefined;
  const region = ofHost ? undefined : regionOf(event.body);
  const revision = history === null ? 0 : parsePosition(event.position).revision;
  const nameBefore = changed?.name ?? changed?.host ?? host;
  const factsAfter = (host === undefined ? undefined : history?.at(host, revision)) ?? bodyFacts;
  const factsBefore =
    (nameBefore === undefined ? undefined : history?.at(nameBefore, revision - 1)) ??
    (bodyFacts === undefined || changed === undefined ? bodyFacts : { ...bodyFacts, ...changed });
  const after: State = { host, service, region, facts: factsAfter };
  const before =
    changed === undefined && factsBefore === factsAfter
      ? after
      : {
          host: nameBefore,
          service: changed?.type ?? service,
          region: changed?.region === undefined ? region : changed.region,
          facts: factsBefore,
        };
  return {
    before: beginnings.has(type) ? null : before,
    after: endings.has(type) ? null : after,
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

function typeTest(types: readonly string[]): EventTest {
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

/** What concerns no host is selected by no selector over hosts, not even by a negative one. */
function hostTest(selector: Selector): (event: ChangeEvent, state: State) => boolean {
  return ({ app, channel }, { host, service, facts }) =>
    host !== undefined && matches(selector, selectableHost(host, facts, { type: service, app, channel }));
}

function recordTest({ type, host, region }: NonNullable<Selection['services']>): (state: State) => boolean {
  const isIn = (wanted: readonly string[] | undefined, value: string | null | undefined) =>
    wanted === undefined || (typeof value === 'string' && wanted.includes(value));
  return (state) => isIn(type, state.service) && isIn(host, state.host) && isIn(region, state.region);
}

function oneOf(list: readonly string[], read: (event: ChangeEvent) => string | undefined): EventTest {
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

function regionOf(body: unknown): string | null {
  return memberOf(body, 'region') ?? null;
}

function familyOf(type: string): string {
  return type.slice(0, type.indexOf('.'));
}
