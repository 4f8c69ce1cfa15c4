import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { limits } from '../../src/base/limits.ts';
import { type ErrorCode, isAppError } from '../../src/domain/error.ts';
import { patchLabels, readLabelPatch, readLabels, sameLabels } from '../../src/domain/labels.ts';
import { matches, parseSelector } from '../../src/domain/selector.ts';

const refusedAs = (code: ErrorCode, field: string) => (error: unknown) =>
  isAppError(error, code) && error.field === field;

describe('readLabels()', () => {
  it('takes what a selector can ask for, and everything that it takes a selector finds', () => {
    const labels = readLabels(
      { env: 'prod', 'k8s.io/role': 'a-b_c.d', '0': 'ä', constructor: 'x', a: '日本'.repeat(64) },
      'labels',
    );
    for (const [key, value] of Object.entries(labels)) {
      assert.ok(matches(parseSelector(`${key}=${value}`), { labels, automatic: {}, self: {} }), key);
    }
  });

  it('refuses keys that no selector could name', () => {
    const hostile = [
      '',
      '@name',
      '@self/x',
      'in',
      'notin',
      '.a',
      '_a',
      '__proto__',
      'a b',
      'a=b',
      'ä',
      'a\n',
    ];
    for (const key of [...hostile, 'a'.repeat(129)]) {
      const labels = JSON.parse(`{${JSON.stringify(key)}:"x"}`) as unknown;
      assert.throws(() => readLabels(labels, 'labels'), refusedAs('bad-request', 'labels'), key);
    }
    assert.ok(readLabels({ ['a'.repeat(128)]: 'x' }, 'labels'));
  });

  it('refuses values that no selector could ask for, and names the label', () => {
    for (const value of [
      '',
      ' ',
      'a b',
      'a,b',
      '(a)',
      'a+b',
      'a=b',
      '!a',
      '"a"',
      "'",
      'a\u0000',
      '\u200b',
      'a\n',
    ]) {
      assert.throws(
        () => readLabels({ env: value }, 'labels'),
        refusedAs('bad-request', 'labels/env'),
        value,
      );
    }
    assert.throws(() => readLabels({ 'a/b': 1 }, 'labels'), refusedAs('bad-request', 'labels/a~1b'));
    assert.throws(
      () => readLabels({ env: 'x'.repeat(limits.labelValueLengthMax + 1) }, 'labels'),
      refusedAs('bad-request', 'labels/env'),
    );
    for (const value of [null, 'x', [], 1])
      assert.throws(() => readLabels(value, 'self'), refusedAs('bad-request', 'self'));
  });

  it('refuses more than there may be', () => {
    const many = (count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, index) => [`k${index}`, 'v']));
    assert.ok(readLabels(many(limits.labelsMax), 'labels'));
    assert.throws(
      () => readLabels(many(limits.labelsMax + 1), 'labels'),
      refusedAs('unprocessable', 'labels'),
    );
    assert.throws(
      () => patchLabels(many(limits.labelsMax), readLabelPatch({ one: 'more' }, 'labels'), 'labels'),
      refusedAs('unprocessable', 'labels'),
    );
  });
});

describe('patchLabels()', () => {
  it('sets, removes and keeps, in the order of the keys', () => {
    const patch = readLabelPatch({ b: null, c: '3', none: null }, 'labels');
    const patched = patchLabels({ d: '4', b: '2', a: '1' }, patch, 'labels');
    assert.deepEqual(Object.entries(patched), [
      ['a', '1'],
      ['c', '3'],
      ['d', '4'],
    ]);
  });
});

describe('sameLabels()', () => {
  it('compares without order and without what is inherited', () => {
    assert.ok(sameLabels({ a: '1', b: '2' }, { b: '2', a: '1' }));
    assert.ok(!sameLabels({ a: '1' }, { a: '2' }));
    assert.ok(!sameLabels({ toString: 'x' }, { a: 'x' }));
    assert.ok(!sameLabels({}, { a: '1' }));
  });
});
