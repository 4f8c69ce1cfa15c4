/** What `Idempotency-Key` promises, on any store. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AppError } from '../../src/domain/error.ts';
import { IdempotencyStore } from '../../src/store/idempotency.ts';
import { FakeClock } from '../helpers/clock.ts';
import { admin } from '../helpers/registry-stores.ts';
import type { OpenStoreForTest } from './liveness.contract.ts';

export function idempotencyContract(openStore: OpenStoreForTest): void {
  describe('IdempotencyStore.run()', () => {
    it('answers the first result again, for a day, also after a restart', async (t) => {
      const clock = new FakeClock();
      const store = await openStore(t, clock);
      let runs = 0;
      const create = async () => {
        runs += 1;
        return { status: 201, body: { run: runs } };
      };
      const first = new IdempotencyStore({ store, clock });
      assert.deepEqual(await first.run('k', admin, 'f', create), { status: 201, body: { run: 1 } });
      const again = new IdempotencyStore({ store, clock });
      assert.deepEqual(await again.run('k', admin, 'f', create), { status: 201, body: { run: 1 } });
      await clock.advance(86_400_001);
      await again.forget();
      assert.deepEqual(await again.run('k', admin, 'f', create), { status: 201, body: { run: 2 } });
    });

    it('keeps callers apart', async (t) => {
      const clock = new FakeClock();
      const idempotency = new IdempotencyStore({ store: await openStore(t, clock), clock });
      const other = { role: 'reporter', subject: 'other' } as const;
      await idempotency.run('k', admin, 'f', async () => ({ status: 201, body: 1 }));
      const answer = await idempotency.run('k', other, 'f', async () => ({ status: 201, body: 2 }));
      assert.equal(answer.body, 2);
    });

    it('refuses the same key with another request, and while the first still runs', async (t) => {
      const clock = new FakeClock();
      const idempotency = new IdempotencyStore({ store: await openStore(t, clock), clock });
      const done = Promise.withResolvers<{ status: number; body: unknown }>();
      const first = idempotency.run('k', admin, 'f', () => done.promise);
      await assert.rejects(idempotency.run('k', admin, 'f', never), isCode('conflict'));
      done.resolve({ status: 201, body: null });
      await first;
      await assert.rejects(idempotency.run('k', admin, 'g', never), isCode('unprocessable'));
    });

    it('leaves the key of a refused creation free', async (t) => {
      const clock = new FakeClock();
      const idempotency = new IdempotencyStore({ store: await openStore(t, clock), clock });
      const refuse = () => Promise.reject(new AppError('conflict', 'taken'));
      await assert.rejects(idempotency.run('k', admin, 'f', refuse), isCode('conflict'));
      const answer = await idempotency.run('k', admin, 'g', async () => ({ status: 201, body: 'mended' }));
      assert.equal(answer.body, 'mended');
    });
  });
}

function never(): Promise<never> {
  throw new Error('a creation ran that should not');
}

function isCode(code: string) {
  return (error: unknown) => error instanceof AppError && error.code === code;
}
