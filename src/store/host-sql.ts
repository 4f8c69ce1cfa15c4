/** The statements of hosts, compiled at their first use. */
import { type CompiledQuery, type Kysely, sql } from 'kysely';
import type { HostRecord } from '../domain/host.ts';
import type { HostFilter } from '../domain/services.ts';
import type { Dialect } from './engine/port.ts';
import { type Arg, compile, type HostRow, jsonRows, queryBuilder, type Schema } from './engine/query.ts';

const heardColumns = {
  id: 'text',
  last_seen_ms: 'bigint',
  interval_told_ms: 'bigint',
  agent_epoch: 'bigint',
  agent_revision: 'bigint',
  agent_hash: 'text',
} as const satisfies Partial<Record<keyof HostRow, string>>;

/** What a flush writes of a host that was heard. */
export type HeardRow = Pick<HostRow, keyof typeof heardColumns>;

export function hostStatements(dialect: Dialect) {
  let db: Kysely<Schema> | undefined;
  return {
    loadAll: compile<object, HostRow>(dialect, (query) => query.selectFrom('hosts').selectAll()),
    byId: compile(dialect, (query, arg: Arg<{ id: string }>) =>
      query.selectFrom('hosts').selectAll().where('id', '=', arg('id')),
    ),
    byMachine: compile(dialect, (query, arg: Arg<{ machineId: string }>) =>
      query
        .selectFrom('hosts')
        .selectAll()
        .where('machine_id', '=', arg('machineId'))
        .orderBy('id')
        .limit(1_000),
    ),
    /** Whether a name is taken; a join asks for at most three. */
    byName: compile(dialect, (query, arg: Arg<{ name: string }>) =>
      query.selectFrom('hosts').select('id').where('name', '=', arg('name')),
    ),
    insert: compile(dialect, (query, arg: Arg<HostRow>) =>
      query.insertInto('hosts').values({
        id: arg('id'),
        no: arg('no'),
        name: arg('name'),
        region: arg('region'),
        labels: arg('labels'),
        self: arg('self'),
        machine_id: arg('machine_id'),
        joined_as: arg('joined_as'),
        status: arg('status'),
        reason: arg('reason'),
        first_seen_ms: arg('first_seen_ms'),
        last_seen_ms: arg('last_seen_ms'),
        version: arg('version'),
        interval_told_ms: arg('interval_told_ms'),
        public_key: arg('public_key'),
        generation: arg('generation'),
        joined_by: arg('joined_by'),
        revoked_at_ms: arg('revoked_at_ms'),
        target_serial: arg('target_serial'),
        inventory_hash: arg('inventory_hash'),
        inventory_at_ms: arg('inventory_at_ms'),
        checkins: arg('checkins'),
        changed_at_ms: arg('changed_at_ms'),
        gone_seen_ms: arg('gone_seen_ms'),
        agent_epoch: arg('agent_epoch'),
        agent_revision: arg('agent_revision'),
        agent_hash: arg('agent_hash'),
        outbox_epoch: arg('outbox_epoch'),
        outbox_seq: arg('outbox_seq'),
      }),
    ),
    /** The number of the next host. Counted beside the hosts: the number of one that was removed is not given again. */
    nextNo: compile<object, { no: string }>(dialect, (query) =>
      sql<{ no: string }>`
        INSERT INTO meta (key, value) VALUES ('hosts_numbered', '1')
        ON CONFLICT (key) DO UPDATE SET value = CAST(CAST(meta.value AS integer) + 1 AS text)
        RETURNING value AS no`.compile(query),
    ),
    /** What selectors and its target show of a host; each change counts in its target. */
    setFacts: compile(
      dialect,
      (query, arg: Arg<Pick<HostRow, 'id' | 'name' | 'region' | 'labels' | 'version' | 'changed_at_ms'>>) =>
        query
          .updateTable('hosts')
          .set((row) => ({
            name: arg('name'),
            region: arg('region'),
            labels: arg('labels'),
            version: arg('version'),
            changed_at_ms: arg('changed_at_ms'),
            target_serial: row('target_serial', '+', 1),
          }))
          .where('id', '=', arg('id')),
    ),
    setSelf: compile(dialect, (query, arg: Arg<Pick<HostRow, 'id' | 'self' | 'version' | 'changed_at_ms'>>) =>
      query
        .updateTable('hosts')
        .set({ self: arg('self'), version: arg('version'), changed_at_ms: arg('changed_at_ms') })
        .where('id', '=', arg('id')),
    ),
    setRevoked: compile(
      dialect,
      (query, arg: Arg<{ id: string; atMs: number | null; version: number; changed_at_ms: number }>) =>
        query
          .updateTable('hosts')
          .set({ revoked_at_ms: arg('atMs'), version: arg('version'), changed_at_ms: arg('changed_at_ms') })
          .where('id', '=', arg('id')),
    ),
    remove: compile(dialect, (query, arg: Arg<{ id: string }>) =>
      query.deleteFrom('hosts').where('id', '=', arg('id')),
    ),
    setStatus: compile(
      dialect,
      (
        query,
        arg: Arg<Pick<HostRow, 'id' | 'status' | 'reason' | 'version' | 'changed_at_ms' | 'gone_seen_ms'>>,
      ) =>
        query
          .updateTable('hosts')
          .set({
            status: arg('status'),
            reason: arg('reason'),
            version: arg('version'),
            changed_at_ms: arg('changed_at_ms'),
            gone_seen_ms: arg('gone_seen_ms'),
          })
          .where('id', '=', arg('id')),
    ),
    /** What a join changes of a host that is known: its key, its generation, who let it in; it is not revoked any more. */
    setJoined: compile(
      dialect,
      (query, arg: Arg<Pick<HostRow, 'id' | 'public_key' | 'generation' | 'joined_by' | 'changed_at_ms'>>) =>
        query
          .updateTable('hosts')
          .set({
            public_key: arg('public_key'),
            generation: arg('generation'),
            joined_by: arg('joined_by'),
            revoked_at_ms: null,
            changed_at_ms: arg('changed_at_ms'),
          })
          .where('id', '=', arg('id')),
    ),
    setGeneration: compile(dialect, (query, arg: Arg<{ id: string; generation: number }>) =>
      query
        .updateTable('hosts')
        .set({ generation: arg('generation') })
        .where('id', '=', arg('id')),
    ),
    setInventory: compile(
      dialect,
      (query, arg: Arg<{ id: string; hash: string | null; atMs: number; count: number }>) =>
        query
          .updateTable('hosts')
          .set({ inventory_hash: arg('hash'), inventory_at_ms: arg('atMs'), checkins: arg('count') })
          .where('id', '=', arg('id')),
    ),
    setOutbox: compile(dialect, (query, arg: Arg<{ id: string; epoch: number; seq: number }>) =>
      query
        .updateTable('hosts')
        .set({ outbox_epoch: arg('epoch'), outbox_seq: arg('seq') })
        .where('id', '=', arg('id')),
    ),
    /** Of many hosts at once: `heard` is the JSON of a list of `HeardRow`. */
    setHeard: compile(dialect, (query, arg: Arg<{ heard: string }>) => {
      const heard = jsonRows(dialect, 'heard', { json: arg('heard'), columns: heardColumns });
      return sql`
        UPDATE hosts SET
          last_seen_ms = heard.last_seen_ms,
          interval_told_ms = heard.interval_told_ms,
          agent_epoch = heard.agent_epoch,
          agent_revision = heard.agent_revision,
          agent_hash = heard.agent_hash
        FROM ${heard} WHERE hosts.id = heard.id`.compile(query);
    }),
    /** Filters vary, so this one is built per call. */
    list(filter: HostFilter, afterName: string, limit: number): CompiledQuery<{ name: string }> {
      db ??= queryBuilder(dialect);
      let query = db
        .selectFrom('hosts')
        .select('name')
        .where('name', '>', afterName)
        .orderBy('name')
        .limit(limit);
      for (const column of ['name', 'region', 'status'] as const) {
        const values = filter[column];
        if (values !== undefined) query = query.where(column, 'in', values as never);
      }
      return query.compile();
    },
  };
}

/** A row as the record that it holds. */
export function recordOf(row: HostRow): HostRecord {
  return {
    id: row.id,
    name: row.name,
    region: row.region,
    labels: JSON.parse(row.labels) as Record<string, string>,
    self: JSON.parse(row.self) as Record<string, string>,
    status: row.status,
    reason: row.reason,
    firstSeenMs: row.first_seen_ms,
    revokedAtMs: row.revoked_at_ms,
    version: row.version,
  };
}

export function rowOf(
  record: HostRecord,
  more: {
    no: number;
    machineId: string;
    joinedAs: string;
    lastSeenMs: number;
    intervalToldMs: number;
    publicKey: string | null;
    joinedBy: string | null;
  },
): HostRow {
  return {
    id: record.id,
    no: more.no,
    name: record.name,
    region: record.region,
    labels: JSON.stringify(record.labels),
    self: JSON.stringify(record.self),
    machine_id: more.machineId,
    joined_as: more.joinedAs,
    status: record.status,
    reason: record.reason,
    first_seen_ms: record.firstSeenMs,
    last_seen_ms: more.lastSeenMs,
    version: record.version,
    interval_told_ms: more.intervalToldMs,
    public_key: more.publicKey,
    generation: 1,
    joined_by: more.joinedBy,
    revoked_at_ms: null,
    target_serial: 1,
    inventory_hash: null,
    inventory_at_ms: null,
    checkins: 0,
    changed_at_ms: record.firstSeenMs,
    gone_seen_ms: null,
    agent_epoch: null,
    agent_revision: null,
    agent_hash: null,
    outbox_epoch: null,
    outbox_seq: null,
  };
}
