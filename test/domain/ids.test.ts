import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { mintId, mintUuid, normaliseHostName, parseUuid, requirePrintable } from '../../src/domain/ids.ts';
import { SeededRandom } from '../helpers/random.ts';

const uuid = '3b059e33-bbc4-4bc8-b0d3-7df6e8d70223';

describe('parseUuid()', () => {
  it('takes dashes and case as they come and writes lower-case dashed', () => {
    for (const text of [uuid, uuid.toUpperCase(), uuid.replaceAll('-', '')])
      assert.equal(parseUuid(text), uuid);
  });

  it('refuses everything else', () => {
    for (const text of ['', 'x', uuid.slice(1), `${uuid}0`, uuid.replace('3', 'g'), `{${uuid}}`])
      assert.equal(parseUuid(text), undefined);
  });
});

describe('mintUuid()', () => {
  it('sorts by time and says version 7', () => {
    const random = new SeededRandom(1);
    const ids = [1_000, 2_000, 1_800_000_000_000].map((now) => mintUuid(now, random));
    assert.deepEqual([...ids].sort(), ids);
    for (const id of ids)
      assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  });
});

describe('mintId()', () => {
  it('is the kind and 26 Crockford characters', () => {
    assert.match(mintId('tok', 1_800_000_000_000, new SeededRandom(1)), /^tok-[0-7][0-9a-hjkmnp-tv-z]{25}$/);
  });
});

describe('normaliseHostName()', () => {
  it('lower-cases and replaces what a name cannot hold', () => {
    assert.equal(normaliseHostName(' Edge_1.Example/x '), 'edge-1.example-x');
    assert.equal(normaliseHostName('x'.repeat(300)).length, 253);
  });
});

describe('requirePrintable()', () => {
  it('counts characters, not code units', () => {
    assert.equal(requirePrintable('🙂'.repeat(128), 'type').length, 256);
    assert.throws(() => requirePrintable('🙂'.repeat(129), 'type'));
  });
});
