/** The document that a host holds, and which ones it takes. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import {
  decideTarget,
  type TargetHolder,
  type TargetProblem,
  tagOfDocument,
  targetDocument,
  targetTag,
  targetWindowMs,
} from '../../src/domain/target.ts';
import { keyFingerprint, signDetached, type Trust, trustKeyOf } from '../../src/domain/trust.ts';
import { targetReader } from '../../src/wire/target-reader.ts';

const dayMs = 86_400_000;
const readTarget = await targetReader();
const hostId = '019c3b5e-0000-7000-8000-0000deadbeef';
const host = { id: hostId, name: 'edge-1', region: 'eu', labels: { b: '2', a: '1' } };
const [current, next, foreign] = [1, 2, 3].map(() => generateKeyPairSync('ed25519').privateKey);
assert.ok(current !== undefined && next !== undefined && foreign !== undefined);
const trust: Trust = {
  urls: ['https://registry.example:7420'],
  keys: [trustKeyOf(current), trustKeyOf(next)],
  ca: [],
};
const nowMs = Date.UTC(2026, 0, 10);
const issuedAtMs = targetWindowMs(hostId, nowMs);
const version = { epoch: 7, serial: 3, issuedAtMs };
const held: TargetHolder = { hostId, keys: trust.keys, version: { epoch: 7, serial: 3 } };

test('targetDocument() is a pure function: equal bytes for an equal tag, whatever the order of labels', () => {
  const other = { ...host, labels: { a: '1', b: '2' } };
  assert.equal(
    JSON.stringify(targetDocument(host, trust, version)),
    JSON.stringify(targetDocument(other, trust, version)),
  );
  const document = targetDocument(host, trust, version);
  assert.equal(tagOfDocument(document), targetTag(version));
  assert.equal(Date.parse(document.notAfter) - Date.parse(document.issuedAt), 8 * dayMs);
  assert.deepEqual(readTarget(JSON.stringify(document)), document);
});

test('targetWindowMs() begins a window of a day at an instant of the host’s own', () => {
  const starts = new Set<number>();
  for (let index = 0; index < 1_000; index += 1) {
    const id = `019c3b5e-0000-7000-8000-0000${(index * 4_294_967).toString(16).padStart(8, '0')}`;
    const start = targetWindowMs(id, nowMs);
    assert.ok(start <= nowMs && nowMs < start + dayMs);
    assert.equal(targetWindowMs(id, start), start);
    assert.equal(targetWindowMs(id, start - 1), start - dayMs);
    assert.equal(targetWindowMs(id, start + dayMs - 1), start);
    starts.add(Math.floor(start / 3_600_000));
  }
  assert.ok(starts.size >= 24, 'every hour has its share');
});

test('decideTarget() takes the registry’s own: newer, in a later window, and in a new life', () => {
  for (const at of [
    version,
    { ...version, issuedAtMs: issuedAtMs + dayMs },
    { ...version, serial: 4 },
    { ...version, epoch: 8, serial: 0 },
  ]) {
    const decision = decide(held, { at });
    assert.ok(decision.accepted, JSON.stringify(decision));
    assert.equal(decision.document.settings.name, 'edge-1');
  }
  assert.ok(decide({ ...held, version: null }, {}).accepted);
});

test('decideTarget() takes one that the announced key signed', () => {
  assert.ok(decide(held, { key: next }).accepted);
});

test('decideTarget() refuses with the reason, in the order signature, host, place, time', () => {
  const refused = (
    problem: TargetProblem,
    offer: Parameters<typeof decide>[1],
    holder: TargetHolder = held,
  ) => {
    const decision = decide(holder, offer);
    assert.ok(!decision.accepted);
    assert.equal(decision.problem, problem);
    assert.match(decision.detail, /^Cannot accept the target: /);
  };
  const late = { ...version, issuedAtMs: nowMs - 9 * dayMs };
  refused('unsigned', { signature: null, text: 'not read' });
  refused('unknown-key', { key: foreign });
  refused('unknown-key', { key: next }, { ...held, keys: [trustKeyOf(current)] });
  refused('bad-signature', { key: foreign, keyId: keyFingerprint(current) });
  refused('malformed', { text: '{"host":1}' });
  refused('malformed', { text: 'no JSON' });
  refused('malformed', { trust: { ...trust, keys: [] } });
  refused('malformed', { trust: { ...trust, keys: [{ ...trustKeyOf(current), publicKey: 'AAAA' }] } });
  refused('other-host', { at: { ...late, serial: 1 } }, { ...held, hostId: hostId.replace('dead', 'beef') });
  refused('older', { at: { ...late, serial: 2 } });
  refused('older', { at: { ...version, epoch: 6, serial: 99 } });
  refused('expired', { at: late });
  refused('expired', { at: { ...version, issuedAtMs: nowMs - 8 * dayMs } });
});

function decide(
  holder: TargetHolder,
  offer: {
    at?: typeof version;
    trust?: Trust;
    key?: typeof current;
    keyId?: string;
    text?: string;
    signature?: null;
  },
) {
  const text = offer.text ?? JSON.stringify(targetDocument(host, offer.trust ?? trust, offer.at ?? version));
  const body = Buffer.from(text);
  const key = offer.key ?? current;
  assert.ok(key !== undefined);
  const signature = signDetached(body, key, offer.keyId ?? keyFingerprint(key));
  return decideTarget(
    holder,
    { body, signature: offer.signature === null ? null : signature },
    { registryNowMs: nowMs, read: readTarget },
  );
}
