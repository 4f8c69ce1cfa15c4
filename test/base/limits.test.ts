import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { formatLimit, type Limit, limits, limitTable } from '../../src/base/limits.ts';

const rows: [string, Limit][] = Object.entries(limitTable);
const suffix = { bytes: /Bytes$/, ms: /Ms$/, count: /Max$/ };

test('limitTable names end in their unit, and every row says what happens and why', () => {
  for (const [name, limit] of rows) {
    assert.match(name, suffix[limit.unit]);
    assert(Number.isSafeInteger(limit.value) && limit.value > 0, name);
    assert(limit.reached !== '' && limit.why !== '' && !limit.why.includes('\n'), name);
  }
});

test('limits has the values of limitTable and cannot be changed', () => {
  assert.deepEqual(Object.keys(limits), Object.keys(limitTable));
  assert.equal(limits.jsonDepthMax, 32);
  assert.equal(limits.heartbeatBodyBytes, 65_536);
  assert.throws(() => Object.assign(limits, { bodyBytes: 1 }), TypeError);
});

test('limits has no row that nothing in src/ asks for', () => {
  const source = join(import.meta.dirname, '../../src');
  const texts = readdirSync(source, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && name !== join('base', 'limits.ts'))
    .map((name) => readFileSync(join(source, name), 'utf8'));
  const unused = rows
    .map(([name]) => name)
    .filter((name) => !texts.some((text) => new RegExp(`[lL]imit(s|Table)\\.${name}\\b`).test(text)));
  assert.deepEqual(unused, []);
});

test('limits fit each other', () => {
  assert(limits.progressMs < 30_000, 'FORMATS: progress at most 30 s apart');
  assert(limits.socketsMax < limits.connectionsMax);
  assert(limits.headerTimeMs < limits.requestTimeMs);
  assert(limits.listDefaultMax <= limits.listMax);
  assert(limits.selectorBytes < limits.urlBytes);
});

test('formatLimit() writes what a person reads', () => {
  assert.equal(formatLimit(limitTable.heartbeatBodyBytes), '64 KiB');
  assert.equal(formatLimit(limitTable.checkInBodyBytes), '16 MiB');
  assert.equal(formatLimit(limitTable.progressMs), '25 s');
  assert.equal(formatLimit(limitTable.retryAfterMs), '10 min');
  assert.equal(formatLimit(limitTable.batchItemsMax), '1,000');
});
