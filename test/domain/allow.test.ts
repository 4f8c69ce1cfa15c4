import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { allowDefault, readAllow } from '../../src/domain/allow.ts';
import { isAppError } from '../../src/domain/error.ts';
import { refusedBy } from './refused-by.ts';

suite('readAllow()', () => {
  test('keeps the default of what is not named, and nothing of what is', () => {
    assert.deepEqual(readAllow({}), allowDefault);
    assert.deepEqual(readAllow({ drivers: ['exec'], users: ['shop'], paths: ['/srv//shop/'] }), {
      drivers: ['exec'],
      handlers: ['http', 'snapshot'],
      users: ['shop'],
      paths: ['/srv/shop'],
    });
    assert.deepEqual(readAllow({ drivers: [], handlers: [] }), {
      ...allowDefault,
      drivers: [],
      handlers: [],
    });
  });

  test('refuses what cannot be, naming the place and what was expected', () => {
    for (const [allow, field, words] of [
      [null, 'allow', /keys such as drivers: \[archive, files\]/],
      [['exec'], 'allow', /keys such as/],
      [{ driver: [] }, 'allow/driver', /did you mean "drivers"\?/],
      [{ drivers: 'exec' }, 'allow/drivers', /a list of archive, exec, files, systemd; \[\] for none/],
      [{ drivers: ['fake'] }, 'allow/drivers/0', /"fake" given, expected one of archive/],
      [{ handlers: ['http', 'mail'] }, 'allow/handlers/1', /expected one of exec, http/],
      [{ users: ['root'] }, 'allow/users/0', /never runs as root/],
      [{ paths: ['srv'] }, 'allow/paths/0', /the path of a folder from \/ on/],
      [{ paths: ['/'] }, 'allow/paths/0', /not \/ itself/],
      [{ paths: ['/srv/../etc'] }, 'allow/paths/0', /without "\.\."/],
    ] as const) {
      const error = refusedBy(() => readAllow(allow));
      assert.ok(isAppError(error, 'bad-request'), JSON.stringify(allow));
      assert.match(error.message, words);
      assert.equal(error.field, field);
    }
  });
});
