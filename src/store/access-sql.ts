/** The statements of tokens, compiled at their first use. */
import type { CompiledQuery, Kysely } from 'kysely';
import type { TokenScope } from '../domain/access.ts';
import type { TokenFilter } from '../domain/services.ts';
import type { TokenRecord } from '../domain/token.ts';
import type { Dialect } from './engine/port.ts';
import { type Arg, compile, queryBuilder, type Schema, type TokenRow } from './engine/query.ts';

export function accessStatements(dialect: Dialect) {
  let db: Kysely<Schema> | undefined;
  return {
    loadLive: compile(dialect, (query, arg: Arg<{ now: number }>) =>
      query
        .selectFrom('tokens')
        .selectAll()
        .where('revoked_at_ms', 'is', null)
        .where('expires_at_ms', '>', arg('now')),
    ),
    insert: compile(dialect, (query, arg: Arg<TokenRow>) =>
      query.insertInto('tokens').values({
        id: arg('id'),
        hash: arg('hash'),
        kind: arg('kind'),
        role: arg('role'),
        subject: arg('subject'),
        scope: arg('scope'),
        uses_left: arg('uses_left'),
        labels: arg('labels'),
        region: arg('region'),
        host_name: arg('host_name'),
        host_id: arg('host_id'),
        generation: arg('generation'),
        offered_until_ms: arg('offered_until_ms'),
        created_by: arg('created_by'),
        created_at_ms: arg('created_at_ms'),
        expires_at_ms: arg('expires_at_ms'),
        revoked_at_ms: arg('revoked_at_ms'),
      }),
    ),
    byId: compile(dialect, (query, arg: Arg<{ id: string }>) =>
      query.selectFrom('tokens').selectAll().where('id', '=', arg('id')),
    ),
    /** The credentials of a host that have not ended. */
    ofHost: compile(dialect, (query, arg: Arg<{ hostId: string }>) =>
      query
        .selectFrom('tokens')
        .selectAll()
        .where('host_id', '=', arg('hostId'))
        .where('revoked_at_ms', 'is', null),
    ),
    setSubject: compile(dialect, (query, arg: Arg<{ hostId: string; subject: string }>) =>
      query
        .updateTable('tokens')
        .set({ subject: arg('subject') })
        .where('host_id', '=', arg('hostId')),
    ),
    /** Tokens of a subject that have not ended. */
    ofSubject: compile(dialect, (query, arg: Arg<{ subject: string }>) =>
      query
        .selectFrom('tokens')
        .selectAll()
        .where('kind', '=', 'api')
        .where('subject', '=', arg('subject'))
        .where('revoked_at_ms', 'is', null),
    ),
    revoke: compile(dialect, (query, arg: Arg<{ id: string; now: number }>) =>
      query
        .updateTable('tokens')
        .set({ revoked_at_ms: arg('now') })
        .where('id', '=', arg('id')),
    ),
    /** Changes no row when none is left. */
    use: compile(dialect, (query, arg: Arg<{ id: string }>) =>
      query
        .updateTable('tokens')
        .set((row) => ({ uses_left: row('uses_left', '-', 1) }))
        .where('id', '=', arg('id'))
        .where('uses_left', '>', 0),
    ),
    commit: compile(dialect, (query, arg: Arg<{ id: string }>) =>
      query.updateTable('tokens').set({ offered_until_ms: null }).where('id', '=', arg('id')),
    ),
    /** At most a thousand at once; the rest with the next call. */
    forget: compile(dialect, (query, arg: Arg<{ beforeMs: number }>) =>
      query.deleteFrom('tokens').where('id', 'in', (old) =>
        old
          .selectFrom('tokens')
          .select('id')
          .where((or) =>
            or.or([or('expires_at_ms', '<', arg('beforeMs')), or('revoked_at_ms', '<', arg('beforeMs'))]),
          )
          .limit(1_000),
      ),
    ),
    /** Filters vary, so this one is built per call. */
    list(filter: TokenFilter, afterId: string, limit: number): CompiledQuery<TokenRow> {
      db ??= queryBuilder(dialect);
      let query = db
        .selectFrom('tokens')
        .selectAll()
        .where('kind', 'in', filter.kind ?? ['api', 'join'])
        .where('id', '>', afterId)
        .orderBy('id')
        .limit(limit);
      if (filter.role !== undefined) query = query.where('role', 'in', filter.role);
      if (filter.subject !== undefined) query = query.where('subject', 'in', filter.subject);
      return query.compile();
    },
  };
}

export function tokenRecordOf(row: TokenRow): TokenRecord {
  return {
    id: row.id,
    kind: row.kind,
    role: row.role,
    subject: row.subject,
    scope: scopeOf(row),
    uses: row.uses_left,
    labels: labelsOf(row),
    region: row.region,
    name: row.host_name,
    hostId: row.host_id,
    createdBy: row.created_by,
    createdAtMs: row.created_at_ms,
    expiresAtMs: row.expires_at_ms,
    revokedAtMs: row.revoked_at_ms,
  };
}

export function scopeOf(row: Pick<TokenRow, 'scope'>): TokenScope | null {
  return row.scope === null ? null : (JSON.parse(row.scope) as TokenScope);
}

export function labelsOf(row: Pick<TokenRow, 'labels'>): Record<string, string> {
  return row.labels === null ? {} : (JSON.parse(row.labels) as Record<string, string>);
}
