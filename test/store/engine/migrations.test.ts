/** Migrations: both stores list theirs, and a half set of files is refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { migrationFiles, selectMigrations } from '../../../src/store/engine/migrations.ts';

test('migrationFiles() numbers every store from 1 without a gap', () => {
  for (const [store, dialect] of [
    ['agent', 'sqlite'],
    ['registry', 'sqlite'],
    ['registry', 'postgres'],
  ] as const) {
    const files = migrationFiles(store, dialect);
    assert.ok(files.length > 0, `${store} ${dialect}`);
    assert.deepEqual(
      files.map((file) => file.version),
      files.map((_, index) => index + 1),
    );
  }
});

test('migrationFiles() pairs the registry dialects: same numbers, same names', () => {
  const names = (dialect: 'sqlite' | 'postgres') =>
    migrationFiles('registry', dialect).map((file) => `${file.version}-${file.name}`);
  assert.deepEqual(names('sqlite'), names('postgres'));
});

test('selectMigrations() takes the files of one store and dialect in order', () => {
  const texts = {
    'registry/0002-b.sqlite.sql': 'b',
    'registry/0001-a.sqlite.sql': 'a',
    'registry/0001-a.postgres.sql': 'p',
    'agent/0001-x.sql': 'x',
  };
  assert.deepEqual(selectMigrations(texts, 'registry', 'sqlite'), [
    { version: 1, name: 'a', sql: 'a' },
    { version: 2, name: 'b', sql: 'b' },
  ]);
  assert.deepEqual(selectMigrations(texts, 'agent', 'sqlite'), [{ version: 1, name: 'x', sql: 'x' }]);
});

test('selectMigrations() refuses a gap, a doubled number and a misnamed file', () => {
  const refusal = (...paths: string[]) => {
    const texts = Object.fromEntries(paths.map((path) => [path, '']));
    return () => selectMigrations(texts, 'agent', 'sqlite');
  };
  assert.throws(refusal('agent/0001-a.sql', 'agent/0003-c.sql'), /number 3 "c" at place 2/);
  assert.throws(refusal('agent/0001-a.sql', 'agent/0001-b.sql'), /number 1 "b" at place 2/);
  assert.throws(refusal('agent/1-a.sql'), /"migrations\/agent\/1-a.sql" is misnamed/);
  assert.throws(() => migrationFiles('agent', 'postgres'), /agent has no postgres schema/);
});
