import assert from 'node:assert/strict';
import { it } from 'node:test';
import { silentLogger } from '../../src/base/log.ts';
import { rewinder } from '../../src/registry/rewind.ts';
import { openStore } from '../../src/store/engine/store.ts';
import { FakeClock } from '../helpers/clock.ts';
import { tempFolder } from '../helpers/temp.ts';

it('rewinder() begins one new life for all who notice, and believes each host once an hour', async (t) => {
  const clock = new FakeClock();
  const store = await openStore({
    role: 'registry',
    dataDir: tempFolder(t),
    clock,
    limits: { ballastBytes: 0 },
  });
  t.after(() => store.close());
  const rewind = rewinder({ store, clock, logger: silentLogger });
  const claim = async (host: string) => {
    const { epoch, revision, hash } = store.log.head();
    rewind({ epoch, revision: revision + 1, hash }, host);
    await clock.settle();
    await new Promise((resolve) => setImmediate(resolve));
    await clock.settle();
    return store.log.head().epoch;
  };
  const first = store.log.head().epoch;
  const second = await claim('a');
  assert(second > first);
  assert.equal(await claim('a'), second);
  assert.equal(await claim('b'), second);
  await clock.advance(60_000);
  assert.equal(await claim('a'), second);
  assert((await claim('b')) > second);
});
