import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemCaller } from '../../../src/domain/access.ts';
import type { AppError } from '../../../src/domain/error.ts';
import type { Driver } from '../../../src/store/engine/driver.ts';
import type { StoreLog } from '../../../src/store/engine/log.ts';
import { queueLimits, WriteQueue } from '../../../src/store/engine/queue.ts';
import { FakeClock } from '../../helpers/clock.ts';

/** A database whose disk is full before a transaction has begun; nothing beyond that is ever asked of it. */
function fullDriver(): Driver {
  const driver: Partial<Driver> = {
    begin: () => Promise.reject(new Error('database or disk is full')),
    rollback: () => Promise.resolve(),
    failureOf: () => 'full',
  };
  return driver as Driver;
}

test('WriteQueue settles every caller also when onFailure throws, says so, and refuses until resume()', async () => {
  const clock = new FakeClock();
  const faults: unknown[] = [];
  const fault = new Error('EISDIR');
  const queue = new WriteQueue({
    driver: fullDriver(),
    log: {} as StoreLog,
    clock,
    limits: { ...queueLimits, batchCountMax: 2 },
    onFailure: () => {
      throw fault;
    },
    onFault: (error) => faults.push(error),
  });
  const outcomes = Promise.allSettled(
    Array.from({ length: 3 }, () => queue.write(systemCaller, () => Promise.resolve())),
  );
  await clock.advance(0);
  for (const outcome of await outcomes)
    assert(outcome.status === 'rejected' && (outcome.reason as AppError).code === 'storage-full');
  assert.deepEqual(faults, [fault]);
  await assert.rejects(
    queue.write(systemCaller, () => Promise.resolve()),
    { code: 'storage-full' },
  );
  await queue.close();
});
