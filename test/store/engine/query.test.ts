import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Kysely } from 'kysely';
import { type AgentSchema, type Arg, compile, queryBuilder } from '../../../src/store/engine/query.ts';

test('compile() binds named arguments where the query uses them, constants included', () => {
  const statement = compile('sqlite', (db, arg: Arg<{ uuid: string; status: 'UP' | 'DOWN' }>) =>
    db
      .updateTable('services')
      .set({ status: arg('status'), version: 7 })
      .where('uuid', '=', arg('uuid'))
      .returning(['uuid', 'version']),
  );
  assert.equal(
    statement.sql,
    'update "services" set "status" = ?, "version" = ? where "uuid" = ? returning "uuid", "version"',
  );
  assert.deepEqual(statement.bind({ uuid: 'u', status: 'UP' }), ['UP', 7, 'u']);
  const row: { uuid: string; version: number } | undefined = statement.row;
  assert.equal(row, undefined);
});

test('compile() numbers the placeholders of PostgreSQL', () => {
  const statement = compile('postgres', (db, arg: Arg<{ type: string; limit: number }>) =>
    db
      .selectFrom('services')
      .select('uuid')
      .where('type', '=', arg('type'))
      .orderBy('uuid')
      .limit(arg('limit')),
  );
  assert.equal(statement.sql, 'select "uuid" from "services" where "type" = $1 order by "uuid" limit $2');
  assert.deepEqual(statement.bind({ type: 't', limit: 3 }), ['t', 3]);
});

test('compile() takes the agent tables when asked', () => {
  const statement = compile('sqlite', (db: Kysely<AgentSchema>, arg: Arg<{ key: string }>) =>
    db.deleteFrom('remote_answers').where('key', '=', arg('key')),
  );
  assert.equal(statement.sql, 'delete from "remote_answers" where "key" = ?');
});

test('queryBuilder() compiles queries whose shape depends on the input', () => {
  const query = queryBuilder('postgres')
    .selectFrom('services')
    .selectAll()
    .where('type', 'in', ['a', 'b'])
    .compile();
  assert.equal(query.sql, 'select * from "services" where "type" in ($1, $2)');
});
