/**
 * On how many hosts which versions are, or were at a moment: pages of names in order.
 *
 * Each version counts its hosts, so that a page over all hosts reads as many rows as it shows. As of a moment, what has
 * changed since is taken off again and what was is added: that costs the changes since then, not the fleet. Of some
 * hosts only, their rows have to be counted; a page ends early then, before it has looked at more than `rowsMax` of them.
 */
import { type CompiledQuery, type RawBuilder, sql } from 'kysely';
import type { ComponentSummary } from '../domain/services.ts';
import type { Dialect, Session } from './engine/port.ts';
import { type Arg, compile, jsonRows, queryBuilder, type Schema, unseen } from './engine/query.ts';
import { appOf, numbersOf, textsOf } from './inventory-sql.ts';

export interface CountsOf {
  /** Numbers of hosts; null: all. */
  readonly hosts: readonly number[] | null;
  /** Names of applications; undefined: also what is of none. */
  readonly apps: readonly string[] | undefined;
  /** Null: now. */
  readonly atMs: number | null;
  readonly after: string;
  readonly limit: number;
}

export interface CountedPage {
  readonly items: readonly ComponentSummary[];
  /** The last name that was looked at, where there is more. */
  readonly next: string | null;
}

export interface CountLimits {
  /** Rows of hosts that one page counts: 200,000 are 15 to 30 ms of CPU. */
  readonly rowsMax: number;
  /** With so few hosts their rows are found by host, which takes 10 ms for 100 hosts; with more by version. */
  readonly fewHosts: number;
}

const countLimits: CountLimits = { rowsMax: 200_000, fewHosts: 300 };
/** What a host costs where they are few. */
const rowsOfHost = 500;
/** So many names are looked at together then: all rows of the hosts are, for each time. */
const namesOfFew = 1_000;

/** So many names are counted together as of a moment: how much has changed since shows only then. */
const namesOfPast = 4;

interface Version {
  readonly name: string;
  readonly id: number;
  readonly name_id: number;
  readonly version: string;
  readonly hosts: number;
}

export class InventoryCounts {
  readonly #dialect: Dialect;
  readonly #limits: CountLimits;
  readonly #distinct;

  constructor(dialect: Dialect, limits = countLimits) {
    this.#dialect = dialect;
    this.#limits = limits;
    this.#distinct = distinctStatements(dialect);
  }

  async page(session: Session, of: CountsOf): Promise<CountedPage> {
    const items: ComponentSummary[] = [];
    const few = of.hosts !== null && of.hosts.length <= this.#limits.fewHosts;
    let [after, left] = [of.after, of.hosts?.length === 0 ? 0 : this.#limits.rowsMax];
    if (left === 0) return { items, next: null };
    for (;;) {
      const wanted = few ? namesOfFew : of.limit + 1 - items.length;
      const names = byName(await session.query(this.#versions(of, { after, limit: wanted })));
      if (names.length === 0) return { items, next: null };
      const { found, looked, rows } = await this.#look(session, of, { names, few, left });
      left -= rows;
      items.push(...found);
      after = names[looked - 1]?.name ?? after;
      if (items.length > of.limit) {
        const shown = items.slice(0, of.limit);
        return { items: shown, next: shown.at(-1)?.name ?? null };
      }
      if (looked === names.length && names.length < wanted) return { items, next: null };
      if (left <= 0 || looked < names.length) return { items, next: after };
    }
  }

  /** As many of the next names as may be counted, at least one, and the rows that took. */
  async #look(
    session: Session,
    of: CountsOf,
    { names, few, left }: { names: readonly Named[]; few: boolean; left: number },
  ): Promise<{ found: readonly ComponentSummary[]; looked: number; rows: number }> {
    if (of.hosts !== null || of.atMs === null) {
      const within = of.hosts === null || few ? names : affordable(names, left);
      const rows = few ? (of.hosts?.length ?? 0) * rowsOfHost : rowsOf(within);
      return { found: (await this.#count(session, of, within)).found, looked: within.length, rows };
    }
    const found: ComponentSummary[] = [];
    let [looked, rows] = [0, 0];
    while (looked < names.length && (looked === 0 || rows < left)) {
      const counted = await this.#count(session, of, names.slice(looked, looked + namesOfPast));
      found.push(...counted.found);
      rows += counted.read;
      looked = Math.min(names.length, looked + namesOfPast);
    }
    return { found, looked, rows };
  }

  /** All versions of the next names. */
  #versions({ apps, atMs }: CountsOf, { after, limit }: { after: string; limit: number }) {
    const now = atMs === null ? sql`AND hosts > 0` : sql``;
    const ofApps =
      apps === undefined
        ? sql``
        : sql`AND ${appOf(this.#dialect, sql`name`)} IN (${textsOf(this.#dialect, apps)})`;
    return sql<Version>`
      SELECT n.name, v.id, v.name_id, v.version, v.hosts
      FROM component_names AS n JOIN component_versions AS v ON v.name_id = n.id
      WHERE n.name IN (
        SELECT DISTINCT name FROM component_names AS named WHERE name > ${this.#hide(after)} ${ofApps}
        AND EXISTS (SELECT 1 FROM component_versions WHERE name_id = named.id ${now})
        ORDER BY name LIMIT ${sql.lit(limit)}) ${now}
      ORDER BY n.name, v.version`.compile(queryBuilder<Schema>(this.#dialect));
  }

  /** `read`: what has changed since then. */
  async #count(
    session: Session,
    of: CountsOf,
    names: readonly Named[],
  ): Promise<{ found: ComponentSummary[]; read: number }> {
    const all = names.flatMap(({ versions }) => versions);
    const rows: readonly Counted[] =
      of.hosts === null && of.atMs === null ? all : await session.query(this.#counted(of, all));
    const hostsOf = new Map(rows.map(({ id, hosts }) => [id, Number(hosts)]));
    const read = rows.reduce((sum, { changes = 0 }) => sum + Number(changes), 0);
    const found = names.flatMap(({ name, versions }) => {
      const there = versions.filter(({ id }) => (hostsOf.get(id) ?? 0) > 0);
      return there.length === 0 ? [] : [{ name, versions: byVersion(there) }];
    });
    const twice = found.flatMap(({ versions }) => versions.filter(hasDetectors));
    const exact = await this.#exactly(session, of, twice);
    const summaries = found.map(({ name, versions }) => ({
      name,
      versions: versions.map((same) => ({
        version: same[0]?.version ?? '',
        hosts: exact.get(same) ?? same.reduce((sum, { id }) => sum + (hostsOf.get(id) ?? 0), 0),
      })),
    }));
    return { found: summaries, read };
  }

  /** The hosts of each version. */
  #counted({ hosts, atMs }: CountsOf, versions: readonly Version[]): CompiledQuery<Counted> {
    const ids = JSON.stringify(versions.map(({ id }) => id));
    if (hosts !== null)
      return sql<Counted>`SELECT version_id AS id, COUNT(*) AS hosts
        FROM (${this.#rows({ hosts, atMs }, ids)}) AS found GROUP BY version_id`.compile(
        queryBuilder<Schema>(this.#dialect),
      );
    const at = this.#hide(atMs ?? 0);
    return sql<Counted>`SELECT id, hosts - came + went - passed AS hosts, came + went AS changes FROM (
        SELECT v.id, v.hosts,
          (SELECT COUNT(*) FROM components AS c WHERE c.version_id = v.id AND c.changed_at_ms > ${at}) AS came,
          (SELECT COUNT(*) FROM components_past AS p WHERE p.version_id = v.id AND p.to_ms > ${at}) AS went,
          (SELECT COUNT(*) FROM components_past AS p WHERE p.version_id = v.id AND p.to_ms > ${at}
            AND p.from_ms > ${at}) AS passed
        FROM component_versions AS v WHERE v.id IN (${this.#numbers(ids)})) AS counted`.compile(
      queryBuilder<Schema>(this.#dialect),
    );
  }

  /** Which host has which of these versions. */
  #rows({ hosts, atMs }: Pick<CountsOf, 'hosts' | 'atMs'>, ids: string): RawBuilder<unknown> {
    // What SQLite is not to look up by.
    const hidden = (column: string) => (this.#dialect === 'sqlite' ? sql.raw(`+${column}`) : sql.raw(column));
    const few = hosts !== null && hosts.length <= this.#limits.fewHosts;
    const ofHosts = hosts === null ? sql`` : sql`AND ${few ? this.#among(hosts) : this.#marked(hosts)}`;
    const where = sql`${few ? hidden('version_id') : sql`version_id`} IN (${this.#numbers(ids)}) ${ofHosts}`;
    if (atMs === null) return sql`SELECT version_id, host_no FROM components WHERE ${where}`;
    const at = this.#hide(atMs);
    return sql`SELECT version_id, host_no FROM components WHERE ${where} AND changed_at_ms <= ${at}
      UNION ALL
      SELECT version_id, host_no FROM components_past WHERE ${where} AND to_ms > ${at} AND from_ms <= ${at}`;
  }

  /** The hosts of versions that several detectors have found: one that was found twice counts once. */
  async #exactly(
    session: Session,
    of: CountsOf,
    twice: readonly (readonly Version[])[],
  ): Promise<Map<readonly Version[], number>> {
    if (twice.length === 0) return new Map();
    const pairs = JSON.stringify(twice.flatMap((same, at) => same.map(({ id }) => ({ at, id }))));
    if (of.hosts === null && of.atMs === null) {
      const rows = await session.all(this.#distinct, { pairs });
      return new Map(rows.flatMap(({ at, hosts }) => (twice[at] ? [[twice[at], Number(hosts)]] : [])));
    }
    const ids = JSON.stringify(twice.flat().map(({ id }) => id));
    const given = jsonRows(this.#dialect, 'given', { json: sql`${pairs}`, columns: pairColumns });
    const rows = await session.query(
      sql<{ at: number; hosts: number }>`SELECT given.at, COUNT(DISTINCT found.host_no) AS hosts
        FROM (${this.#rows(of, ids)}) AS found JOIN ${given} ON given.id = found.version_id
        GROUP BY given.at`.compile(queryBuilder<Schema>(this.#dialect)),
    );
    return new Map(rows.flatMap(({ at, hosts }) => (twice[at] ? [[twice[at], Number(hosts)]] : [])));
  }

  #among(hosts: readonly number[]): RawBuilder<unknown> {
    return sql`host_no IN (${this.#numbers(JSON.stringify(hosts))})`;
  }

  /** As `#among`, of many: on SQLite by a byte for each number, in 25 ms for 200,000 rows instead of 50. */
  #marked(hosts: readonly number[]): RawBuilder<unknown> {
    if (this.#dialect === 'postgres') return this.#among(hosts);
    const marks = Buffer.alloc(hosts.reduce((most, no) => Math.max(most, no), 0) + 1);
    for (const no of hosts) marks[no] = 1;
    return sql`substr(${marks}, host_no + 1, 1) = x'01'`;
  }

  #hide(value: string | number): RawBuilder<unknown> {
    return unseen(this.#dialect, sql`${value}`);
  }

  #numbers(json: string): RawBuilder<unknown> {
    return numbersOf(this.#dialect, sql`${json}`);
  }
}

/** On how many hosts a version is or was; `changes`: how many rows have come and gone since, where that was looked at. */
interface Counted {
  readonly id: number;
  readonly hosts: number;
  readonly changes?: number;
}

interface Named {
  readonly name: string;
  readonly versions: readonly Version[];
}

const pairColumns = { at: 'bigint', id: 'bigint' } as const;

function distinctStatements(dialect: Dialect) {
  return compile(dialect, (query, arg: Arg<{ pairs: string }>) =>
    sql<{ at: number; hosts: number }>`SELECT given.at, COUNT(DISTINCT c.host_no) AS hosts
      FROM ${jsonRows(dialect, 'given', { json: arg('pairs'), columns: pairColumns })}
      JOIN components AS c ON c.version_id = given.id GROUP BY given.at`.compile(query),
  );
}

/** Rows come ordered by name. */
function byName(rows: readonly Version[]): Named[] {
  const names = new Map<string, Version[]>();
  for (const row of rows) {
    const versions = names.get(row.name);
    if (versions === undefined) names.set(row.name, [row]);
    else versions.push(row);
  }
  return [...names].map(([name, versions]) => ({ name, versions }));
}

/** The rows of each version by its text: of several architectures and detectors. */
function byVersion(versions: readonly Version[]): Version[][] {
  const groups = new Map<string, Version[]>();
  for (const row of versions) {
    const group = groups.get(row.version);
    if (group === undefined) groups.set(row.version, [row]);
    else group.push(row);
  }
  return [...groups.values()];
}

/** Whether several detectors have found it: of one, no host has two versions. */
function hasDetectors(same: readonly Version[]): boolean {
  return same.some(({ name_id: id }) => id !== same[0]?.name_id);
}

function rowsOf(names: readonly Named[]): number {
  return names.reduce((sum, { versions }) => versions.reduce((all, { hosts }) => all + hosts, sum), 0);
}

/** As many of the next names as may be counted, at least one. */
function affordable(names: readonly Named[], left: number): readonly Named[] {
  let rows = 0;
  const end = names.findIndex((named, index) => {
    rows += rowsOf([named]);
    return index > 0 && rows > left;
  });
  return end === -1 ? names : names.slice(0, end);
}
