import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isAppError } from '../../src/domain/error.ts';
import { decideToken, isNameAllowed, type TokenRequest } from '../../src/domain/token.ts';

const dayMs = 86_400_000;

describe('decideToken()', () => {
  test('gives an API token 90 days, a join token one use and 30 minutes', () => {
    const { kind, lifeMs } = decideToken({ role: 'viewer', subject: 'ann' });
    assert.deepEqual([kind, lifeMs], ['api', 90 * dayMs]);
    const join = decideToken({ role: 'host' });
    assert.deepEqual([join.kind, join.lifeMs, join.uses, join.name], ['join', 30 * 60_000, 1, null]);
  });

  const refused: readonly (readonly [field: string, request: TokenRequest])[] = [
    ['subject', { role: 'viewer' }],
    ['subject', { role: 'viewer', subject: '' }],
    ['subject', { role: 'viewer', subject: 'a\nb' }],
    ['subject', { role: 'viewer', subject: 'system' }],
    ['subject', { role: 'admin', subject: 'local' }],
    ['subject', { role: 'admin', subject: 'host:edge-1' }],
    ['subject', { role: 'admin', subject: 'join:tok-x' }],
    ['subject', { role: 'host', subject: 'edge-1' }],
    ['expiresIn', { role: 'viewer', subject: 'ann', expiresInMs: 401 * dayMs }],
    ['expiresIn', { role: 'viewer', subject: 'ann', expiresInMs: 0 }],
    ['expiresIn', { role: 'host', expiresInMs: 31 * dayMs }],
    ['uses', { role: 'viewer', subject: 'ann', uses: 2 }],
    ['labels', { role: 'viewer', subject: 'ann', labels: {} }],
    ['name', { role: 'viewer', subject: 'ann', name: 'a' }],
    ['labels', { role: 'host', labels: { '@id': 'x' } }],
    ['uses', { role: 'host', uses: 0 }],
    ['uses', { role: 'host', uses: 1.5 }],
    ['uses', { role: 'host', uses: 10_001 }],
    ['scope', { role: 'host', scope: {} }],
    ['name', { role: 'host', name: 'a b' }],
    ['name', { role: 'host', name: '' }],
    ['region', { role: 'host', region: ' ' }],
  ];
  for (const [field, request] of refused) {
    test(`refuses ${JSON.stringify(request)} by its ${field}`, () => {
      assert.throws(
        () => decideToken(request),
        (error) => isAppError(error, 'bad-request') && error.field === field,
      );
    });
  }
});

describe('isNameAllowed()', () => {
  test('takes * for any characters, and compares names as they are kept', () => {
    const allowed: readonly (readonly [pattern: string | null, name: string, expected: boolean])[] = [
      [null, 'anything', true],
      ['edge-1', 'edge-1', true],
      ['edge-1', 'EDGE_1', true],
      ['edge-1', 'edge-10', false],
      ['edge-*', 'edge-', true],
      ['edge-*', 'edge-1.example', true],
      ['edge-*', 'my-edge-1', false],
      ['*.example', 'a.example', true],
      ['*.example', 'axexample', false],
      ['a*b*c', 'a-b-b-c', true],
      ['a*b*c', 'a-c-b', false],
      ['ab*ba', 'aba', false],
      ['*', '', true],
    ];
    for (const [pattern, name, expected] of allowed)
      assert.equal(isNameAllowed(pattern, name), expected, `${pattern} ${name}`);
  });

  test('F6: takes no longer for a pattern of many stars', () => {
    const pattern = `${'a*'.repeat(126)}b`;
    const startedMs = performance.now();
    assert.equal(isNameAllowed(pattern, 'a'.repeat(253)), false);
    assert.ok(performance.now() - startedMs < 100);
  });
});
