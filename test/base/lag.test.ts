import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { LagMeter } from '../../src/base/lag.ts';
import { FakeClock } from '../helpers/clock.ts';

describe('LagMeter', () => {
  it('tells a standstill once, whoever notices it first', async () => {
    const clock = new FakeClock();
    const lag = new LagMeter(clock);
    await clock.advance(10_000);
    assert.equal(lag.take(), 0);
    clock.stall(5_000);
    const first = lag.take();
    assert(first > 4_000 && first <= 5_000, `${first}`);
    assert.equal(lag.take(), 0);
    clock.stall(3_000);
    await clock.advance(250);
    assert(lag.take() > 2_000);
    assert.equal(lag.take(), 0);
    lag.stop();
    assert.deepEqual(clock.pendingMs, []);
  });

  it('takes a busy moment for nothing', async () => {
    const clock = new FakeClock();
    const lag = new LagMeter(clock);
    clock.stall(900);
    await clock.advance(250);
    assert.equal(lag.take(), 0);
    lag.stop();
  });
});
