import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { createSearch, SearchTooSlow } from '../../src/base/search.ts';

suite('createSearch()', () => {
  test('finds groups by their names, line by line', () => {
    const search = createSearch();
    assert.deepEqual(search('nginx/(?<version>\\S+)', 'nginx version: nginx/1.22.1 (x)'), {
      groups: { version: '1.22.1' },
    });
    assert.deepEqual(search('^v(?<version>.*)$', 'a\nv2\nb'), { groups: { version: '2' } });
    assert.deepEqual(search('(?<a>a)|(?<b>b)', 'b'), { groups: { b: 'b' } });
    assert.deepEqual(search('ok', 'it is ok'), { groups: {} });
    assert.equal(search('OK', 'it is ok'), null);
  });

  test('ends a pattern that would take forever, and goes on with the next', () => {
    const search = createSearch();
    const begun = performance.now();
    assert.throws(() => search('^(a+)+$', `${'a'.repeat(60)}b`), SearchTooSlow);
    assert.ok(performance.now() - begun < 5_000, 'a real one takes years');
    assert.deepEqual(search('a', 'a'), { groups: {} });
  });

  test('texts are only texts to it', () => {
    const search = createSearch();
    assert.deepEqual(search('(?<version>.+)', '"); process.exit(1); ("'), {
      groups: { version: '"); process.exit(1); ("' },
    });
    assert.deepEqual(search('(?<__proto__>x)', 'x')?.groups['version'], undefined);
  });
});
