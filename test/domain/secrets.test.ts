/** G13: what guards a secret is random enough, is never compared by its bytes, and never comes from Math.random. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { systemClock } from '../../src/base/clock.ts';
import { systemRandom } from '../../src/base/random.ts';
import { systemCaller } from '../../src/domain/access.ts';
import { decideToken } from '../../src/domain/token.ts';
import { AccessStore } from '../../src/store/access.ts';
import { openStore } from '../../src/store/engine/store.ts';
import { tempFolder } from '../helpers/temp.ts';

const source = join(import.meta.dirname, '../../src');

describe('G13: secrets', () => {
  it('have 256 bits that differ from token to token', async (t) => {
    const store = await openStore({
      role: 'agent',
      dataDir: tempFolder(t),
      clock: systemClock,
      limits: { ballastBytes: 0 },
    });
    t.after(() => store.close());
    const access = await AccessStore.open({ store, clock: systemClock, random: systemRandom });
    const plan = decideToken({ role: 'viewer', subject: 'ann' });
    const issued = await Promise.all(Array.from({ length: 500 }, () => access.issue(systemCaller, plan)));
    const secrets = issued.map(({ token }) => Buffer.from(token.slice(34), 'base64url'));
    assert.ok(secrets.every(({ length }) => length * 8 === 256));
    assert.equal(new Set(secrets.map((secret) => secret.toString('hex'))).size, 500);
    // Of 128,000 fair bits half are set, give or take six standard deviations.
    const ones = secrets.reduce((sum, secret) => sum + bitsOf(secret), 0);
    assert.ok(Math.abs(ones - 64_000) < 6 * Math.sqrt(128_000 / 4), `${ones} of 128,000 bits are set`);
  });

  it('are looked up by their SHA-256, never compared as they are', () => {
    const access = readFileSync(join(source, 'store/access.ts'), 'utf8');
    assert.match(access, /#known\.get\(hash\('sha256', token\.slice\(secretAt\)\)\)/);
    // The one comparison with a part of the token is with its id, which is no secret.
    const compared = access.match(/token\.(startsWith|endsWith|includes)\(.*?\)|token ===? \w+/g) ?? [];
    assert.deepEqual(
      compared.map((text) => text.replace(/\$\{.*\}/, 'ID')),
      ['token.startsWith(`hf_ID_`)'],
    );
  });

  it('come from no Math.random: one file knows it, for jitter', () => {
    const users = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter(
      (file) => file.endsWith('.ts') && readFileSync(join(source, file), 'utf8').includes('Math.random'),
    );
    assert.deepEqual(users, ['base/random.ts']);
    const random = readFileSync(join(source, 'base/random.ts'), 'utf8');
    assert.match(
      random,
      /bytes: \(count\) => randomBytes\(count\),\n {2}uniform: \(\) => Math\.random\(\),\n/,
    );
  });
});

function bitsOf(bytes: Uint8Array): number {
  let bits = 0;
  for (const byte of bytes) for (let rest = byte; rest > 0; rest >>= 1) bits += rest & 1;
  return bits;
}
