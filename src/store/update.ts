/**
 * What is out of date, on SQL. Versions are compared once for each that is installed anywhere, not once for each host:
 * `component_versions` knows on how many hosts each is, so only the hosts of versions that are behind are read, and no
 * more of them than a page needs. Components are gone through by name and detector, so a page costs the same however
 * deep it is.
 */
import type { Clock } from '../base/clock.ts';
import { hostNotFound } from '../domain/host.ts';
import { Scope } from '../domain/scope.ts';
import type {
  ComponentUpdates,
  PageRequest,
  UpdateFilter,
  UpdatePage,
  UpdateService,
  UpdateView,
} from '../domain/services.ts';
import { decideUpdates, type UpdateDecision } from '../domain/update.ts';
import { compareVersions, versionOrderOf } from '../domain/version.ts';
import type { Session, Store } from './engine/port.ts';
import { encodeCursorAt, foreignCursor, placeAt } from './page.ts';
import { releasePastStatements } from './release-past-sql.ts';
import type { TrainStore } from './train.ts';
import { Followers, Knowledge, type UpdateHosts } from './update-plan.ts';
import { type InstalledRow, type NameRow, updateStatements, type VersionRow } from './update-sql.ts';

/** Rows read at once: about a millisecond. */
const stepMax = 1_000;
/** A page that has something ends after so many rows: selectors and trains may leave few of them. */
const readMax = 50_000;
/** Of so many hosts all that they have is read in 30 ms. */
const fewHosts = 300;
/** To look a host up costs so many times what the next row of an index does. */
const lookUpCost = 4;

export interface UpdateStoreOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly trains: Pick<TrainStore, 'following'>;
  readonly hosts: UpdateHosts;
  readonly hostsAsOf: (atMs: number) => Promise<UpdateHosts>;
}

/** A question, with what it goes by. */
interface Question extends Meant {
  readonly filter: UpdateFilter;
  readonly names: readonly NameRow[];
  readonly followers: Followers;
  readonly knowledge: Knowledge;
}

/** Which hosts, and as of when. */
interface Meant {
  readonly sql: Statements;
  /** For the statements; of now it is not looked at. */
  readonly atMs: number;
  readonly hosts: UpdateHosts;
  /** Numbers of the hosts that are meant; null: all. */
  readonly hostNos: readonly number[] | null;
}

type Statements = ReturnType<typeof updateStatements>;

/** What is decided of one name on each train that somebody follows. */
interface Plan {
  readonly name: NameRow;
  readonly versions: readonly VersionRow[];
  readonly byTrain: ReadonlyMap<string, UpdateDecision>;
  /** Versions that are behind on some train. */
  readonly behind: readonly VersionRow[];
}

/** Where a list is in the rows of a name: behind this row it goes on. */
type Place = InstalledRow;

export class UpdateStore implements UpdateService {
  readonly #options: UpdateStoreOptions;
  readonly #now: Statements;
  readonly #then: Statements;
  readonly #past: ReturnType<typeof releasePastStatements>;

  constructor(options: UpdateStoreOptions) {
    this.#options = options;
    const { dialect } = options.store;
    this.#now = updateStatements(dialect, 'now');
    this.#then = updateStatements(dialect, 'then');
    this.#past = releasePastStatements(dialect);
  }

  async list(filter: UpdateFilter, page: PageRequest): Promise<UpdatePage<UpdateView>> {
    const { atMs, after } = placeAt(filter, page, { parts: 5, now: this.#options.clock.now() });
    const start = after === null ? null : startOf(after);
    return this.#answer(filter, atMs, async (session, question) => {
      const items: UpdateView[] = [];
      let read = 0;
      let last: { name: NameRow; row: InstalledRow } | null = null;
      for (const name of question.names) {
        if (start !== null && compareNames(name, start) < 0) continue;
        const plan = await this.#plan(session, question, name);
        if (plan === null || plan.behind.length === 0) continue;
        const from = start !== null && compareNames(name, start) === 0 ? start.place : null;
        for await (const rows of this.#rowsOf(session, { question, plan, from })) {
          read += rows.length;
          for (const row of rows) {
            const item = this.#view(question, plan, row);
            if (item === null) continue;
            if (last !== null && (items.length === page.limit || read > readMax))
              return { items: await this.#withImages(session, question, items), next: cursorOf(atMs, last) };
            items.push(item);
            last = { name, row };
          }
        }
      }
      return { items: await this.#withImages(session, question, items), next: null };
    });
  }

  async byComponent(filter: UpdateFilter, page: PageRequest): Promise<UpdatePage<ComponentUpdates>> {
    const { atMs, after } = placeAt(filter, page, { parts: 3, now: this.#options.clock.now() });
    const start = after === null ? null : componentStartOf(after);
    return this.#answer(filter, atMs, async (session, question) => {
      const items: ComponentUpdates[] = [];
      let read = 0;
      for (const name of question.names) {
        const passed = start === null ? 1 : compareNames(name, start);
        if (passed < 0) continue;
        const plan = await this.#plan(session, question, name);
        if (plan === null || plan.behind.length === 0) continue;
        const counted = await this.#counts(session, question, plan);
        read += counted.read;
        for (const item of summaries(plan, counted.byTrain)) {
          if (passed === 0 && item.train <= (start?.train ?? '')) continue;
          const last = items.at(-1);
          if (last !== undefined && (items.length === page.limit || read > readMax))
            return { items, next: encodeCursorAt(atMs, [last.component, last.detector, last.train]) };
          items.push(item);
        }
      }
      return { items, next: null };
    });
  }

  /** `atMs` null: as things are. */
  async #answer<Item>(
    filter: UpdateFilter,
    atMs: number | null,
    find: (session: Session, question: Question) => Promise<{ items: readonly Item[]; next: string | null }>,
  ): Promise<UpdatePage<Item>> {
    const { store, clock } = this.#options;
    const { epoch, revision } = store.log.head();
    const meant = await this.#meant(filter, atMs);
    return store.read(async (session) => {
      const question = await this.#question(session, filter, { ...meant, isPast: atMs !== null });
      const unknown = await this.#unknown(session, question);
      const found = await find(session, question);
      const position = atMs === null ? { epoch, revision } : null;
      return { ...found, unknown, asOfMs: atMs ?? clock.now(), position, stale: false };
    });
  }

  async #meant({ host, ...selection }: UpdateFilter, atMs: number | null): Promise<Meant> {
    const { hosts: known, hostsAsOf } = this.#options;
    const hosts = atMs === null ? known : await hostsAsOf(atMs);
    const sql = atMs === null ? this.#now : this.#then;
    const found = { sql, hosts, atMs: atMs ?? Number.MAX_SAFE_INTEGER };
    const hostNos = await hosts.hostNos(selection);
    if (host === undefined) return { ...found, hostNos };
    const no = await hosts.hostNo(host);
    if (hostNos?.includes(no) === false) throw hostNotFound(host);
    return { ...found, hostNos: [no] };
  }

  async #question(
    session: Session,
    filter: UpdateFilter,
    { isPast, ...meant }: Meant & { readonly isPast: boolean },
  ): Promise<Question> {
    const { clock, trains } = this.#options;
    const { sql, atMs, hosts, hostNos } = meant;
    const scope = filter.scope === undefined ? null : new Scope(filter.scope);
    const rows =
      filter.component === undefined
        ? await session.all(sql.names, { atMs })
        : await session.all(sql.namesCalled, { name: filter.component, atMs });
    const names = rows.filter(({ name }) => scope?.coversName(name) ?? true).sort(compareNames);
    const words = JSON.stringify([...new Set(names.map(({ name }) => name))]);
    const published = await session.all(sql.published, { components: words, atMs });
    const components = [...new Set(published.map(({ component }) => component))];
    const following = await trains.following(session, components, isPast ? atMs : null);
    return {
      ...meant,
      filter,
      names,
      knowledge: new Knowledge(published, following, isPast ? atMs : clock.now()),
      followers: new Followers(hostNos ?? hosts.allNos(), (no) => hosts.numbered(no)?.labels ?? {}),
    };
  }

  /** How many names there are on the hosts that are meant of which nothing has arrived on any train that they follow. */
  async #unknown(session: Session, question: Question): Promise<number> {
    const { names, followers, knowledge, hostNos, sql, atMs } = question;
    const unknown = names.filter(
      ({ name }) => ![...followers.trains(name)].some((train) => knowledge.arrivals(name, train) !== null),
    );
    if (hostNos === null) return unknown.length;
    const ids = JSON.stringify(unknown.map(({ id }) => id));
    const statement = hostNos.length <= fewHosts ? sql.namesOnFew : sql.namesOn;
    return (await session.all(statement, { ids, hosts: JSON.stringify(hostNos), atMs })).length;
  }

  /** Null: nothing is known of it. */
  async #plan(
    session: Session,
    { filter, followers, knowledge, sql, atMs }: Question,
    name: NameRow,
  ): Promise<Plan | null> {
    const arrivals = [...followers.trains(name.name)].flatMap((train) => {
      const found = knowledge.arrivals(name.name, train);
      return found === null ? [] : [[train, found] as const];
    });
    if (arrivals.length === 0) return null;
    const versions = await session.all(sql.versions, { nameId: name.id, atMs });
    const installed = new Set(versions.map(({ version }) => version));
    const order = filter.order ?? 'version';
    const byTrain = new Map<string, UpdateDecision>();
    for (const [train, found] of arrivals) {
      const decision = decideUpdates(found, { detector: name.detector, order, installed });
      if (decision !== null) byTrain.set(train, decision);
    }
    const behind = versions.filter(({ version }) =>
      [...byTrain.values()].some(({ outOfDate }) => outOfDate.has(version)),
    );
    return { name, versions, byTrain, behind };
  }

  /**
   * The rows of a name on versions that are behind, in order, a step at a time: by host where few are meant, else by
   * version. Also some of hosts that are not meant.
   */
  async *#rowsOf(
    session: Session,
    { question, plan, from }: { question: Question; plan: Plan; from: Place | null },
  ): AsyncGenerator<readonly InstalledRow[]> {
    const { name, behind, byTrain } = plan;
    const { sql, atMs } = question;
    const trains = new Set(
      [...byTrain].filter(([, { outOfDate }]) => outOfDate.size > 0).map(([train]) => train),
    );
    const meant = question.followers.of(name.name, trains);
    const total = behind.reduce((sum, { hosts }) => sum + Number(hosts), 0);
    const isAfter = (row: InstalledRow) => from === null || compareRows(row, from) > 0;
    if (meant.length * lookUpCost < total) {
      const hosts = JSON.stringify(meant);
      const rows = await session.all(sql.onHosts, { hosts, nameId: name.id, atMs });
      yield rows.filter(isAfter);
      return;
    }
    const left = behind.filter(({ id }) => from === null || id >= from.version_id);
    for (let index = 0; index < left.length; ) {
      const step: VersionRow[] = [];
      let size = 0;
      for (const version of left.slice(index)) {
        size += Number(version.hosts);
        if (size > stepMax && step.length > 0) break;
        step.push(version);
      }
      index += step.length;
      const [first] = step;
      if (first !== undefined && Number(first.hosts) > stepMax)
        yield* pagesOf(session, question, { id: first.id, from });
      else {
        const ids = JSON.stringify(step.map(({ id }) => id));
        yield (await session.all(sql.onVersions, { ids, atMs })).filter(isAfter);
      }
    }
  }

  /** Null: the host is not meant, or what it has is no older than the latest of the train that it follows. */
  #view({ followers, hosts, hostNos }: Question, plan: Plan, row: InstalledRow): UpdateView | null {
    const host = hosts.numbered(row.host_no);
    if (host === undefined || (hostNos !== null && !this.#isMeant(hostNos, row.host_no))) return null;
    const { name, detector } = plan.name;
    const train = followers.trainOf(row.host_no, name);
    const decision = plan.byTrain.get(train);
    const installed = plan.behind.find(({ id }) => id === row.version_id)?.version;
    if (decision === undefined || installed === undefined || !decision.outOfDate.has(installed)) return null;
    const { latest } = decision;
    return {
      host: host.name,
      hostId: host.id,
      component: name,
      detector,
      installed,
      latest: latest.version,
      train,
      publishedOn: latest.train,
      releasedMs: latest.releasedMs,
      image: null,
    };
  }

  readonly #sets = new WeakMap<readonly number[], ReadonlySet<number>>();

  #isMeant(hostNos: readonly number[], no: number): boolean {
    const known = this.#sets.get(hostNos);
    if (known !== undefined) return known.has(no);
    const set = new Set(hostNos);
    this.#sets.set(hostNos, set);
    return set.has(no);
  }

  async #withImages(
    session: Session,
    { atMs }: Question,
    items: readonly UpdateView[],
  ): Promise<readonly UpdateView[]> {
    if (items.length === 0) return items;
    const components = JSON.stringify([...new Set(items.map(({ component }) => component))]);
    const rows = await session.all(this.#past.images, { components, atMs });
    const images = new Map(rows.map((row) => [releaseId(row), row.image]));
    return items.map((item) => {
      const { component, publishedOn: train, latest: version } = item;
      return { ...item, image: images.get(releaseId({ component, train, version })) ?? null };
    });
  }

  /** How many of the hosts that are meant have which version, by the train that they follow. */
  async #counts(
    session: Session,
    { followers, hostNos, sql, atMs }: Question,
    { name, versions }: Plan,
  ): Promise<{ byTrain: Map<string, Map<number, number>>; read: number }> {
    const trains = followers.trains(name.name);
    const [only] = trains;
    if (hostNos === null && trains.size === 1 && only !== undefined) {
      const counts = new Map(versions.map(({ id, hosts }) => [id, Number(hosts)]));
      return { byTrain: new Map([[only, counts]]), read: 0 };
    }
    const byTrain = new Map<string, Map<number, number>>();
    const count = (versionId: number, no: number) => {
      const train = followers.trainOf(no, name.name);
      const counts = byTrain.get(train) ?? new Map<number, number>();
      if (counts.size === 0) byTrain.set(train, counts);
      counts.set(versionId, (counts.get(versionId) ?? 0) + 1);
    };
    const total = versions.reduce((sum, { hosts }) => sum + Number(hosts), 0);
    if (hostNos !== null && hostNos.length * lookUpCost < total) {
      const hosts = JSON.stringify(hostNos);
      const rows = await session.all(sql.onHosts, { hosts, nameId: name.id, atMs });
      for (const row of rows) count(row.version_id, row.host_no);
      return { byTrain, read: hostNos.length * lookUpCost };
    }
    const ids = JSON.stringify(versions.map(({ id }) => id));
    for (const row of await session.all(sql.hostsOf, { ids, atMs }))
      for (const no of JSON.parse(row.hosts) as number[])
        if (hostNos === null || this.#isMeant(hostNos, no)) count(row.version_id, no);
    return { byTrain, read: total };
  }
}

/** The rows of one version behind a place, a step at a time. */
async function* pagesOf(
  session: Session,
  { sql, atMs }: Question,
  { id, from }: { id: number; from: Place | null },
): AsyncGenerator<readonly InstalledRow[]> {
  let [changed, host] =
    from?.version_id === id ? [from.changed_at_ms, from.host_no] : [Number.MIN_SAFE_INTEGER, 0];
  for (;;) {
    const rows = await session.all(sql.onVersion, { id, changed, host, limit: stepMax, atMs });
    yield rows;
    const last = rows.at(-1);
    if (last === undefined || rows.length < stepMax) return;
    [changed, host] = [last.changed_at_ms, last.host_no];
  }
}

/** Of each train, in order, on which a host that is meant has something that is behind. */
function* summaries(
  { name, versions, byTrain }: Plan,
  counted: ReadonlyMap<string, ReadonlyMap<number, number>>,
): Generator<ComponentUpdates> {
  const order = versionOrderOf(name.detector);
  for (const [train, { latest, outOfDate }] of [...byTrain].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const hostsByVersion = new Map<string, number>();
    for (const { id, version } of versions) {
      const hosts = counted.get(train)?.get(id) ?? 0;
      if (hosts > 0) hostsByVersion.set(version, (hostsByVersion.get(version) ?? 0) + hosts);
    }
    const found = [...hostsByVersion].sort(
      ([a], [b]) => compareVersions(order, b, a) || (a < b ? 1 : a > b ? -1 : 0),
    );
    const sum = (some: typeof found) => some.reduce((total, [, hosts]) => total + hosts, 0);
    const hostsOutOfDate = sum(found.filter(([version]) => outOfDate.has(version)));
    if (hostsOutOfDate === 0) continue;
    yield {
      component: name.name,
      detector: name.detector,
      train,
      latest: latest.version,
      publishedOn: latest.train,
      releasedMs: latest.releasedMs,
      hostsOutOfDate,
      hostsUpToDate: sum(found) - hostsOutOfDate,
      versions: found.map(([version, hosts]) => ({ version, hosts })),
    };
  }
}

type NameKey = Pick<NameRow, 'name' | 'detector'>;

function compareNames(a: NameKey, b: NameKey): number {
  if (a.name !== b.name) return a.name < b.name ? -1 : 1;
  return a.detector === b.detector ? 0 : a.detector < b.detector ? -1 : 1;
}

function compareRows(a: InstalledRow, b: InstalledRow): number {
  return a.version_id - b.version_id || a.changed_at_ms - b.changed_at_ms || a.host_no - b.host_no;
}

function releaseId({ component, train, version }: { component: string; train: string; version: string }) {
  return `${component}\0${train}\0${version}`;
}

function cursorOf(atMs: number | null, { name, row }: { name: NameKey; row: InstalledRow }): string {
  const numbers = [row.version_id, row.changed_at_ms, row.host_no].map(String);
  return encodeCursorAt(atMs, [name.name, name.detector, ...numbers]);
}

function startOf(key: readonly string[]): NameKey & { readonly place: Place } {
  const [name = '', detector = '', ...rest] = key;
  const [version = Number.NaN, changed = Number.NaN, host = Number.NaN] = rest.map(Number);
  if (![version, changed, host].every(Number.isSafeInteger)) throw foreignCursor();
  return { name, detector, place: { version_id: version, changed_at_ms: changed, host_no: host } };
}

function componentStartOf(key: readonly string[]): NameKey & { readonly train: string } {
  const [name = '', detector = '', train = ''] = key;
  return { name, detector, train };
}
