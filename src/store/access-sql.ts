/** The statements of tokens, compiled at their first use. */
import type { Dialect } from './engine/port.ts';
import { type Arg, compile, type TokenRow } from './engine/query.ts';

export function accessStatements(dialect: Dialect) {
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
        role: arg('role'),
        subject: arg('subject'),
        host_id: arg('host_id'),
        expires_at_ms: arg('expires_at_ms'),
        created_at_ms: arg('created_at_ms'),
        revoked_at_ms: arg('revoked_at_ms'),
      }),
    ),
    ofHost: compile(dialect, (query, arg: Arg<{ hostId: string }>) =>
      query
        .selectFrom('tokens')
        .select('hash')
        .where('host_id', '=', arg('hostId'))
        .where('revoked_at_ms', 'is', null),
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
    revokeOfHost: compile(dialect, (query, arg: Arg<{ hostId: string; now: number }>) =>
      query
        .updateTable('tokens')
        .set({ revoked_at_ms: arg('now') })
        .where('host_id', '=', arg('hostId'))
        .where('revoked_at_ms', 'is', null),
    ),
  };
}
