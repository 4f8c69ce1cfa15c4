/**
 * The tables as Kysely sees them, and how a query becomes a `Statement`: compiled at its first use, bound often.
 *
 * Kysely as it comes costs about 19 µs a call, most of it compiling. A query compiled once as a template costs its
 * execution and an array of arguments.
 */
import {
  type Compilable,
  type CompiledQuery,
  DummyDriver,
  type Generated,
  Kysely,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  type RawBuilder,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
  sql,
} from 'kysely';
import type { Role, TokenRole } from '../../domain/access.ts';
import type { DoctorWire } from '../../domain/doctor.ts';
import type { EventType } from '../../domain/event.ts';
import type { Holder, Status, StatusReason } from '../../domain/liveness.ts';
import type { Told } from '../../domain/notify-words.ts';
import type { TokenKind } from '../../domain/token.ts';
import type { EpochRow, RevisionRow } from './driver.ts';
import type { Dialect, Statement } from './port.ts';

/** The registry's tables. Times are UTC milliseconds; `labels`, `self`, `events`, `body` and `answer` hold JSON text. */
export interface Schema extends CommonSchema {
  hosts: HostRow;
  hosts_past: PastHostRow;
  checkins: CheckInRow;
  component_names: ComponentNameRow;
  component_versions: ComponentVersionRow;
  components: HostComponentRow;
  components_past: PastComponentRow;
  releases: ReleaseRow;
  clusters: ClusterRow;
  cluster_checkins: ClusterCheckInRow;
  trains: TrainRow;
  doctor_reports: DoctorReportRow;
  notify_places: NotifyPlaceRow;
  notify_subjects: NotifySubjectRow;
}

/** The agent's tables, but for those that only outbox-sql.ts and local-inventory-sql.ts know. */
export interface AgentSchema extends CommonSchema {
  components: OwnComponentRow;
  remote_answers: RemoteAnswerRow;
  held_target: HeldTargetRow;
  checks: CheckRow;
}

export interface CommonSchema {
  meta: MetaRow;
  epochs: EpochRow;
  revisions: RevisionRow;
  services: ServiceRow;
  taken_over: TakenOverRow;
  idempotency: IdempotencyRow;
  tokens: TokenRow;
  audit: AuditRow;
}

/** `restored` (set by restore, read at the next start), `witness` (see driver.ts), `log_base`, `audit_…`; identity and keys. */
export interface MetaRow {
  key: string;
  value: string;
}

export interface ServiceRow {
  uuid: string;
  type: string;
  host: string;
  region: string | null;
  status: Status;
  reason: StatusReason | null;
  ttl_ms: number;
  maintenance_start_ms: number | null;
  maintenance_end_ms: number | null;
  maintenance_note: string | null;
  held_by: Holder;
  told_status: Status | null;
  told_reason: StatusReason | null;
  version: number;
  last_seen_ms: number | null;
}

export interface TakenOverRow {
  uuid: string;
  by_uuid: string;
  at_ms: number;
}

export interface IdempotencyRow {
  subject: string;
  key: string;
  fingerprint: string;
  status: number | null;
  body: string | null;
  at_ms: number;
}

export interface TokenRow {
  id: string;
  hash: string;
  kind: TokenKind;
  role: TokenRole;
  subject: string;
  /** JSON of a `TokenScope`. */
  scope: string | null;
  uses_left: number | null;
  labels: string | null;
  region: string | null;
  host_name: string | null;
  host_id: string | null;
  generation: number | null;
  offered_until_ms: number | null;
  created_by: string;
  created_at_ms: number;
  expires_at_ms: number;
  revoked_at_ms: number | null;
}

export interface AuditRow {
  seq: number;
  at_ms: number;
  actor: string;
  role: Role;
  token_id: string | null;
  type: EventType;
  host: string | null;
  /** `<epoch>.<revision>` of the change. */
  position: string;
  body: string;
  hash: string;
}

/** Exactly one row, or none before the first target. */
export interface HeldTargetRow {
  one: number;
  tag: string;
  body: string;
  signature: string;
  accepted_at_ms: number;
}

export interface CheckRow {
  type: string;
  uuid: string;
}

export interface HostRow {
  id: string;
  no: number;
  name: string;
  region: string | null;
  labels: string;
  self: string;
  machine_id: string;
  joined_as: string;
  status: Status;
  reason: StatusReason | null;
  first_seen_ms: number;
  last_seen_ms: number | null;
  version: number;
  interval_told_ms: number;
  public_key: string | null;
  generation: number;
  joined_by: string | null;
  revoked_at_ms: number | null;
  target_serial: number;
  inventory_hash: string | null;
  inventory_at_ms: number | null;
  checkins: number;
  changed_at_ms: number;
  gone_seen_ms: number | null;
  agent_epoch: number | null;
  agent_revision: number | null;
  agent_hash: string | null;
  outbox_epoch: number | null;
  outbox_seq: number | null;
}

export interface PastHostRow
  extends Pick<
    HostRow,
    | 'no'
    | 'id'
    | 'name'
    | 'region'
    | 'labels'
    | 'self'
    | 'status'
    | 'reason'
    | 'first_seen_ms'
    | 'gone_seen_ms'
    | 'revoked_at_ms'
    | 'version'
  > {
  from_ms: number;
  to_ms: number;
  removed: 0 | 1;
}

export interface CheckInRow {
  host_no: number;
  at_ms: number;
  count: number;
}

export interface OwnComponentRow {
  detector: string;
  name: string;
  version: string;
  architecture: string | null;
  first_seen_ms: number;
  changed_at_ms: number;
}

/** `id` is given by the database: inserts leave it out. */
export interface ComponentNameRow {
  id: Generated<number>;
  detector: string;
  name: string;
}

/** `architecture` is empty where there is none. */
export interface ComponentVersionRow {
  id: Generated<number>;
  name_id: number;
  version: string;
  architecture: string;
  hosts: number;
}

export interface HostComponentRow {
  host_no: number;
  name_id: number;
  version_id: number;
  first_seen_ms: number;
  changed_at_ms: number;
}

export interface PastComponentRow {
  host_no: number;
  name_id: number;
  version_id: number;
  first_seen_ms: number;
  from_ms: number;
  to_ms: number;
}

export interface ReleaseRow {
  component: string;
  train: string;
  version: string;
  released_ms: number;
  description: string | null;
  fixes: string | null;
  image: string | null;
  /** JSON of an object. */
  data: string | null;
  published_by: string;
  published_at_ms: number;
  changed_at_ms: number;
}

export interface ClusterRow {
  key: string;
  id: string;
  /** JSON of a list. */
  components: string;
  first_seen_ms: number;
  last_seen_ms: number;
  checkins: number;
}

export interface ClusterCheckInRow {
  cluster_key: string;
  at_ms: number;
  count: number;
}

export interface TrainRow {
  component: string;
  train: string;
  follows: string;
  delay_ms: number;
  changed_at_ms: number;
}

export interface DoctorReportRow {
  id: string;
  wire: DoctorWire;
  host: string | null;
  sender: string;
  comment: string | null;
  bytes: number;
  at_ms: number;
  body: string;
}

export interface NotifyPlaceRow {
  sink: string;
  epoch: number;
  revision: number;
  /** JSON of a `Sending`. */
  sending: string | null;
  delivered: number;
  failed: number;
  dropped: number;
  missed: number;
  last_success_ms: number | null;
  last_error_ms: number | null;
  last_error: string | null;
}

export interface NotifySubjectRow {
  sink: string;
  rule: string;
  subject: string;
  title: string | null;
  told: Told | null;
  at_ms: number;
  forget_at_ms: number;
  /** JSON of an event. */
  held: string | null;
  /** JSON of an `Alert`. */
  alert: string | null;
}

export interface RemoteAnswerRow {
  key: string;
  answer: string;
  at_ms: number;
}

/** The place of a named argument inside a query. */
export type Arg<Args> = <Key extends keyof Args & string>(name: Key) => RawBuilder<Args[Key]>;

/**
 * A query that is compiled once, when it is first used:
 *
 *     compile(dialect, (db, arg: Arg<{ uuid: string }>) =>
 *       db.selectFrom('services').selectAll().where('uuid', '=', arg('uuid')));
 *
 * gives a `Statement<{ uuid: string }, ServiceRow>`. An agent's query annotates `db: Kysely<AgentSchema>`; SQL by hand
 * returns ``sql<Row>`…${arg('uuid')}…`.compile(db)``.
 *
 * Kysely is slow while it is cold: all statements of a registry at its start were 18 ms, the seven it needs there 6.
 */
export function compile<Args extends object, Row, Db = Schema>(
  dialect: Dialect,
  build: (db: Kysely<Db>, arg: Arg<Args>) => Compilable<Row> | CompiledQuery<Row>,
): Statement<Args, Row> {
  return new Template(dialect, build);
}

class Template<Args extends object, Row, Db> implements Statement<Args, Row> {
  readonly #dialect: Dialect;
  readonly #build: (db: Kysely<Db>, arg: Arg<Args>) => Compilable<Row> | CompiledQuery<Row>;
  #compiled: CompiledQuery<Row> | undefined;

  constructor(
    dialect: Dialect,
    build: (db: Kysely<Db>, arg: Arg<Args>) => Compilable<Row> | CompiledQuery<Row>,
  ) {
    this.#dialect = dialect;
    this.#build = build;
  }

  get sql(): string {
    return this.#query().sql;
  }

  bind(args: Args): unknown[] {
    const { parameters } = this.#query();
    const values = new Array<unknown>(parameters.length);
    for (let i = 0; i < values.length; i += 1) {
      const parameter = parameters[i];
      values[i] = parameter instanceof Placeholder ? args[parameter.name as keyof Args] : parameter;
    }
    return values;
  }

  #query(): CompiledQuery<Row> {
    if (this.#compiled === undefined) {
      const query = this.#build(queryBuilder<Db>(this.#dialect), placeholder);
      this.#compiled = 'compile' in query ? query.compile() : query;
    }
    return this.#compiled;
  }
}

/**
 * A list of rows as one argument, for statements that join with it: the JSON text of a list of objects. Named `name`
 * in the query, with these columns. A statement of its own for each row is a round trip each on PostgreSQL.
 */
export function jsonRows(
  dialect: Dialect,
  name: string,
  options: { json: RawBuilder<string>; columns: Readonly<Record<string, 'text' | 'bigint'>> },
): RawBuilder<unknown> {
  const columns = Object.entries(options.columns);
  if (dialect === 'postgres') {
    const types = sql.join(columns.map(([column, type]) => sql`${sql.ref(column)} ${sql.raw(type)}`));
    return sql`jsonb_to_recordset(${options.json}::jsonb) AS ${sql.table(name)} (${types})`;
  }
  const values = sql.join(columns.map(([column]) => sql`value ->> ${sql.lit(column)} AS ${sql.ref(column)}`));
  return sql`(SELECT ${values} FROM json_each(${unseen(dialect, options.json)})) AS ${sql.table(name)}`;
}

/**
 * An argument of a query over several tables that SQLite's planner does not look at. Where it may, it plans such a
 * query anew whenever an argument has changed (a build with STAT4 does): a look-up in two tables by their keys takes
 * 8.5 µs then instead of 1.1, one of five rows in four tables 30 instead of 7.
 */
export function unseen<Value>(dialect: Dialect, value: RawBuilder<Value>): RawBuilder<Value> {
  return dialect === 'sqlite' ? sql`(SELECT ${value})` : value;
}

/** Builds queries whose shape depends on the input, for `Session.query(….compile())`. It cannot run them itself. */
export function queryBuilder<Db = Schema>(dialect: Dialect): Kysely<Db> {
  return new Kysely<Db>({
    dialect:
      dialect === 'sqlite'
        ? {
            createAdapter: () => new SqliteAdapter(),
            createDriver: () => new DummyDriver(),
            createIntrospector: (db) => new SqliteIntrospector(db),
            createQueryCompiler: () => new SqliteQueryCompiler(),
          }
        : {
            createAdapter: () => new PostgresAdapter(),
            createDriver: () => new DummyDriver(),
            createIntrospector: (db) => new PostgresIntrospector(db),
            createQueryCompiler: () => new PostgresQueryCompiler(),
          },
  });
}

/** Stands for an argument in a compiled query's parameters. */
class Placeholder {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}

function placeholder<Value>(name: string): RawBuilder<Value> {
  return sql`${new Placeholder(name)}`;
}
