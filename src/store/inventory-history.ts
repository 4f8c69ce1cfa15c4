/**
 * What became of components: each step of one host, beside those of the host itself, and what differs between two
 * moments over many. The past holds what was until when; a host whose components have not changed after the first moment
 * is not looked at.
 */
import type { Clock } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import { systemCaller } from '../domain/access.ts';
import { isAppError } from '../domain/error.ts';
import { hostNotFound } from '../domain/host.ts';
import type { HostHistoryStep } from '../domain/host-history.ts';
import type {
  ComponentDifference,
  ComponentState,
  ComponentStep,
  ComponentTurn,
} from '../domain/inventory.ts';
import { pastRange } from '../domain/moment.ts';
import { Scope } from '../domain/scope.ts';
import type {
  ComponentChangeFilter,
  ComponentHistoryService,
  Page,
  PageRequest,
  Scoped,
  Stretch,
} from '../domain/services.ts';
import type { Session, Store } from './engine/port.ts';
import type { HostNumbers, Span } from './host-numbers.ts';
import { HostSteps } from './host-steps.ts';
import { appsOf } from './inventory.ts';
import { inventoryHistoryStatements, type SpanRow, type StepRow } from './inventory-history-sql.ts';
import { inventoryStatements } from './inventory-sql.ts';
import { decodeCursor, encodeCursor, foreignCursor } from './page.ts';

/** A host as history calls it. */
export interface NumberedHost {
  readonly no: number;
  readonly id: string;
  readonly name: string;
}

/** The place of a step of the host itself among those of one moment, which are ordered by the ids of names. */
const hostStepId = 0;
/** Check-ins within a stretch that are looked through for their hosts: some milliseconds. */
const busyMax = 50_000;
/** Hosts on which one page looks: 40 µs each where a host has 500 components. */
const hostsMax = 1_000;
/** Hosts of which one write forgets, and rows of names and versions that it looks at. */
const forgetHosts = 200;
const forgetRows = 2_000;

export interface InventoryHistoryOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly hosts: HostNumbers;
  /** The hosts whose components have changed after a moment, by their numbers. */
  readonly changedSince: (fromMs: number) => readonly NumberedHost[];
}

export class InventoryHistory implements ComponentHistoryService {
  readonly #options: InventoryHistoryOptions;
  readonly #sql: ReturnType<typeof inventoryHistoryStatements>;
  readonly #versions: ReturnType<typeof inventoryStatements>['versionsOf'];
  readonly #hostSteps: HostSteps;
  #forgottenMs: number | null = null;

  constructor(options: InventoryHistoryOptions) {
    this.#options = options;
    this.#sql = inventoryHistoryStatements(options.store.dialect);
    this.#versions = inventoryStatements(options.store.dialect).versionsOf;
    this.#hostSteps = new HostSteps(options.store.dialect);
  }

  async steps(
    idOrName: string,
    stretch: Stretch & Scoped,
    page: PageRequest,
  ): Promise<Page<HostHistoryStep>> {
    const { fromMs, toMs, key } = this.#windowOf(stretch, page, 2);
    const no = await this.#numberIn(idOrName, { fromMs, toMs });
    const { scope } = stretch;
    const sinceMs =
      scope === undefined ? fromMs : await this.#options.hosts.coveredSince(no, scope, { fromMs, toMs });
    if (sinceMs === null) throw hostNotFound(idOrName);
    const [afterMs = fromMs, afterId = hostStepId] = key.map(Number);
    const limit = page.limit + 1;
    const steps = await this.#options.store.read(async (session) => {
      const of = { hostNo: no, fromMs: sinceMs, toMs, apps: appsOf(scope), afterMs, afterId, limit };
      const rows = await session.all(this.#sql.steps, of);
      const itself = { no, afterMs: Math.max(sinceMs, afterMs), toMs, limit };
      return [
        ...(await this.#hostSteps.after(session, itself)).map((step) => ({ id: hostStepId, step })),
        ...rows.map((row) => ({ id: row.name_id, step: stepOf(row) })),
      ];
    });
    steps.sort((a, b) => a.step.atMs - b.step.atMs || a.id - b.id);
    const shown = steps.slice(0, page.limit);
    const last = shown.at(-1);
    return this.#page<HostHistoryStep>(
      shown.map(({ step }) => step),
      {
        toMs,
        next: steps.length > page.limit && last ? [fromMs, toMs, last.step.atMs, last.id] : null,
      },
    );
  }

  async differences(filter: ComponentChangeFilter, page: PageRequest): Promise<Page<ComponentDifference>> {
    const { fromMs, toMs, key } = this.#windowOf(filter, page, 3);
    const [afterNo = '0', afterName = '', afterDetector = ''] = key;
    const meant = await this.#meantHosts(filter, { fromMs, toMs });
    const scope = filter.scope === undefined ? null : new Scope(filter.scope);
    const items: ComponentDifference[] = [];
    let next: (string | number)[] | null = null;
    await this.#options.store.read(async (session) => {
      const candidates = await this.#withVersions(session, meant, { filter, fromMs, toMs });
      // A host of which not all was shown is gone on with.
      const begin = afterName === '' ? Number(afterNo) + 1 : Number(afterNo);
      const after = (host: NumberedHost, turn: ComponentTurn) =>
        host.no !== Number(afterNo) || compareNames(turn, { name: afterName, detector: afterDetector }) > 0;
      const left = candidates.filter(({ no }) => no >= begin);
      for (const [index, host] of left.entries()) {
        const of = { hostNo: host.no, fromMs, toMs };
        const spans =
          filter.name === undefined
            ? await session.all(this.#sql.spans, of)
            : await session.all(this.#sql.spansOf, { ...of, name: filter.name });
        for (const turn of turnsOf(spans, { fromMs, toMs })) {
          if (after(host, turn) && (scope?.coversName(turn.name) ?? true))
            items.push({ hostId: host.id, host: host.name, ...turn });
        }
        if (items.length > page.limit) {
          const last = items[page.limit - 1];
          const { no } = candidates.find(({ id }) => id === last?.hostId) ?? host;
          next = [fromMs, toMs, no, last?.name ?? '', last?.detector ?? ''];
          return;
        }
        if (index + 1 === hostsMax && left.length > hostsMax) next = [fromMs, toMs, host.no, '', ''];
        if (next !== null) return;
      }
    });
    return this.#page(items.slice(0, page.limit), { toMs, next });
  }

  /**
   * Forgets what ended longer ago than is kept, and names and versions that nobody has or had, in small writes; once a
   * day, because it looks at every host.
   */
  async forget(): Promise<void> {
    const { clock, store } = this.#options;
    const nowMs = clock.now();
    if (this.#forgottenMs !== null && nowMs < this.#forgottenMs + 86_400_000) return;
    const beforeMs = nowMs - limits.historyKeptMs;
    const last = await store.read((session) => session.get(this.#sql.lastIds, {}));
    const step = <Args>(statement: Parameters<Session['run']>[0], args: Args) =>
      store.write(systemCaller, (tx) => tx.run(statement, args));
    for (let no = 0; no < (last?.host ?? 0); no += forgetHosts) {
      const hosts = JSON.stringify(Array.from({ length: forgetHosts }, (_, at) => no + at + 1));
      await step(this.#sql.dropPast, { hosts, beforeMs });
    }
    for (let id = 0; id < (last?.version ?? 0); id += forgetRows)
      await step(this.#sql.dropVersions, { afterId: id, throughId: id + forgetRows });
    for (let id = 0; id < (last?.name ?? 0); id += forgetRows)
      await step(this.#sql.dropNames, { afterId: id, throughId: id + forgetRows });
    this.#forgottenMs = nowMs;
  }

  /** The hosts that were meant at the end and may have changed, by their numbers; also those that are gone since. */
  async #meantHosts(filter: ComponentChangeFilter, stretch: Span): Promise<readonly NumberedHost[]> {
    const { hosts, store, changedSince } = this.#options;
    const only = filter.host === undefined ? null : await this.#numberIn(filter.host, stretch);
    // Of a host that came into the scope meanwhile, what it had before is of others.
    const outside =
      filter.scope === undefined ? null : await hosts.numbersOutside(filter.scope, stretch.fromMs);
    // A host that was removed meanwhile is not there at the end: it is meant as it was at the beginning.
    const selected = await hosts.numbersAsOf(filter, stretch.toMs);
    const before = selected === null ? null : await hosts.numbersAsOf(filter, stretch.fromMs);
    const meant = selected === null ? null : new Set(selected);
    const meantBefore = before === null ? null : new Set(before);
    const { removed, busy } = await store.read(async (session) => ({
      removed: await session.all(this.#sql.removedAfter, { fromMs: stretch.fromMs }),
      busy: await this.#busyHosts(session, stretch),
    }));
    const there = changedSince(stretch.fromMs).filter(
      ({ no }) => (busy === null || busy.has(no)) && (meant === null || meant.has(no)),
    );
    const gone = removed.filter(({ no, to_ms: goneMs }) =>
      goneMs <= stretch.toMs
        ? meantBefore === null || meantBefore.has(no) || meant?.has(no) === true
        : meant === null || meant.has(no),
    );
    const found = [...there, ...gone.map(({ no, id, name }) => ({ no, id, name }))].filter(
      ({ no }) => (only === null || no === only) && outside?.has(no) !== true,
    );
    return found.sort((a, b) => a.no - b.no);
  }

  /** Those that have checked in changes within a stretch; null where that is no help: it reaches until now, or they are many. */
  async #busyHosts(session: Session, { fromMs, toMs }: Span): Promise<Set<number> | null> {
    if (toMs >= this.#options.clock.now() - 60_000) return null;
    const found = await session.get(this.#sql.busyHosts, { fromMs, toMs, limit: busyMax });
    if (found === undefined || Number(found.checkins) >= busyMax) return null;
    return new Set(JSON.parse(found.hosts) as number[]);
  }

  /** A host by id, or by the name that it had at the end, else at the beginning, else in between; `not-found`. */
  async #numberIn(idOrName: string, { fromMs, toMs }: Span): Promise<number> {
    const { hosts, store } = this.#options;
    const atEnd = await hosts.numberAsOf(idOrName, toMs).catch(missing);
    const found = atEnd ?? (await hosts.numberAsOf(idOrName, fromMs).catch(missing));
    if (found !== undefined) return found;
    const between = await store.read((session) =>
      this.#hostSteps.called(session, idOrName, { fromMs, toMs }),
    );
    return between ?? hosts.numberOf(idOrName);
  }

  /** Of one name, those hosts only on which it has changed. */
  async #withVersions(
    session: Session,
    hosts: readonly NumberedHost[],
    { filter, fromMs, toMs }: { filter: ComponentChangeFilter; fromMs: number; toMs: number },
  ): Promise<readonly NumberedHost[]> {
    if (filter.name === undefined) return hosts;
    const known = await session.all(this.#versions, { name: filter.name });
    if (known.length === 0) return [];
    const ids = JSON.stringify(known.map(({ id }) => id));
    const found = await session.get(this.#sql.hostsOfVersions, { ids, fromMs, toMs });
    const numbers = new Set(JSON.parse(found?.hosts ?? '[]') as number[]);
    return hosts.filter(({ no }) => numbers.has(no));
  }

  /** A page goes on in the stretch of the first: relative moments have moved meanwhile. */
  #windowOf(
    { from, to = { kind: 'ago', agoMs: 0 } }: Stretch,
    { cursor }: PageRequest,
    parts: number,
  ): { fromMs: number; toMs: number; key: string[] } {
    const nowMs = this.#options.clock.now();
    if (cursor === undefined) return { ...pastRange({ from, to }, nowMs), key: [] };
    const [fromText = '', toText = '', ...key] = decodeCursor(cursor, parts + 2);
    if (![fromText, toText, key[0] ?? ''].every((text) => /^\d{1,16}$/.test(text))) throw foreignCursor();
    const at = (text: string) => ({ kind: 'at', atMs: Number(text) }) as const;
    return { ...pastRange({ from: at(fromText), to: at(toText) }, nowMs), key };
  }

  #page<Item>(
    items: readonly Item[],
    { toMs, next }: { toMs: number; next: readonly (string | number)[] | null },
  ): Page<Item> {
    const { epoch, revision } = this.#options.store.log.head();
    return {
      items,
      next: next === null ? null : encodeCursor(next.map(String)),
      asOfMs: toMs,
      position: { epoch, revision },
      stale: false,
    };
  }
}

function missing(error: unknown): undefined {
  if (!isAppError(error, 'not-found')) throw error;
}

/** What differs at the end from the beginning, ordered by name, detector. */
function turnsOf(
  spans: readonly SpanRow[],
  { fromMs, toMs }: { fromMs: number; toMs: number },
): ComponentTurn[] {
  const byName = new Map<number, { before?: SpanRow; after?: SpanRow }>();
  for (const span of spans) {
    const both = byName.get(span.name_id) ?? {};
    if (span.from_ms <= fromMs) both.before = span;
    if (span.to_ms === null || span.to_ms > toMs) both.after = span;
    byName.set(span.name_id, both);
  }
  const turns = [...byName.values()].flatMap(({ before, after }) => {
    const { name, detector } = after ?? before ?? { name: '', detector: '' };
    if (before?.version_id === after?.version_id) return [];
    return [turnOf({ name, detector }, stateOf(before), stateOf(after))];
  });
  return turns.sort(compareNames);
}

function stepOf(row: StepRow): ComponentStep {
  const before = stateOf({ version: row.before_version, architecture: row.before_architecture });
  const after = stateOf({ version: row.after_version, architecture: row.after_architecture });
  return { atMs: row.at_ms, ...turnOf(row, before, after) };
}

function turnOf(
  { name, detector }: { name: string; detector: string },
  before: ComponentState | null,
  after: ComponentState | null,
): ComponentTurn {
  const kind = before === null ? 'installed' : after === null ? 'removed' : 'changed';
  return { kind, name, detector, before, after };
}

function stateOf(
  row: { readonly version: string | null; readonly architecture: string | null } | undefined,
): ComponentState | null {
  if (row === undefined || row.version === null) return null;
  return { version: row.version, ...(row.architecture ? { architecture: row.architecture } : {}) };
}

function compareNames(
  a: { readonly name: string; readonly detector: string },
  b: { readonly name: string; readonly detector: string },
): number {
  if (a.name !== b.name) return a.name < b.name ? -1 : 1;
  return a.detector === b.detector ? 0 : a.detector < b.detector ? -1 : 1;
}
