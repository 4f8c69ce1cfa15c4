import assert from 'node:assert/strict';
import { suite, type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { type CheckIn, type Component, componentKey, inventoryHash } from '../../src/domain/inventory.ts';
import { openStore } from '../../src/store/engine/store.ts';
import { LocalInventory } from '../../src/store/local-inventory.ts';
import { FakeClock } from '../helpers/clock.ts';
import { tempFolder } from '../helpers/temp.ts';

async function open(t: TestContext) {
  const clock = new FakeClock();
  const store = await openStore({
    role: 'agent',
    dataDir: tempFolder(t),
    clock,
    limits: { ballastBytes: 0 },
  });
  t.after(() => store.close());
  const reopen = () => LocalInventory.open({ store, clock, host: () => ({ name: 'edge-1', id: 'some-id' }) });
  return { store, clock, reopen, inventory: await reopen() };
}

const component = (name: string, version: string, detector = 'dpkg'): Component => ({
  name,
  version,
  detector,
});
const find = (...components: Component[]) => new Map([['dpkg', components]]);

/** What the other side has after a check-in, by the rules of the wire. */
function after(before: readonly Component[], checkIn: CheckIn): Component[] {
  const set = new Map((checkIn.base === null ? [] : before).map((one) => [componentKey(one), one]));
  for (const removed of checkIn.removed) set.delete(componentKey(removed));
  for (const one of checkIn.components) set.set(componentKey(one), one);
  return [...set.values()];
}

suite('LocalInventory', () => {
  test('writes one revision for all that changed, and none when nothing did', async (t) => {
    const { store, clock, inventory } = await open(t);
    let changes = 0;
    inventory.onChanged(() => {
      changes += 1;
    });
    await inventory.replace(find(component('a', '1'), component('b', '1')));
    await clock.advance(5_000);
    await inventory.replace(find(component('a', '1'), component('b', '1')));
    assert.deepEqual([store.log.head().revision, changes], [1, 1]);
    await inventory.replace(find(component('a', '2'), { ...component('b', '1'), architecture: 'amd64' }));
    const { items } = await inventory.ofHost('edge-1', { limit: 10 });
    assert.deepEqual(
      items.map(({ name, version, firstSeenMs, changedAtMs }) => [name, version, changedAtMs - firstSeenMs]),
      [
        ['a', '2', 5_000],
        ['b', '1', 5_000],
      ],
    );
    assert.deepEqual([store.log.head().revision, inventory.count], [2, 2]);
    assert.equal(inventory.hash, inventoryHash(items));
  });

  test('touches only the detectors that are named, and retain() removes the others', async (t) => {
    const { inventory } = await open(t);
    await inventory.replace(
      new Map([
        ['dpkg', [component('a', '1')]],
        ['kernel', [component('linux', '6', 'kernel')]],
      ]),
    );
    await inventory.replace(find());
    assert.equal(inventory.count, 1);
    await inventory.retain(['dpkg']);
    assert.equal(inventory.count, 0);
    assert.equal(inventory.hash, inventoryHash([]));
  });

  test('pages through its own host by name or id, and knows no other', async (t) => {
    const { inventory } = await open(t);
    await inventory.replace(
      new Map([
        ['dpkg', ['a', 'b', 'c'].map((n) => component(n, '1'))],
        ['x', [component('b', '2', 'x')]],
      ]),
    );
    const first = await inventory.ofHost('EDGE-1', { limit: 2 });
    assert.deepEqual(
      first.items.map(({ name, detector }) => [name, detector]),
      [
        ['a', 'dpkg'],
        ['b', 'dpkg'],
      ],
    );
    const second = await inventory.ofHost('some-id', { limit: 2, cursor: first.next ?? '' });
    assert.deepEqual(
      second.items.map(({ name, detector }) => [name, detector]),
      [
        ['b', 'x'],
        ['c', 'dpkg'],
      ],
    );
    assert.equal(second.next, null);
    await assert.rejects(inventory.ofHost('edge-2', { limit: 2 }), { code: 'not-found' });
    const asOf = { kind: 'ago', agoMs: 1 } as const;
    const elsewhere = { code: 'unprocessable', field: 'asOf', message: /ask the registry/ };
    await assert.rejects(inventory.ofHost('edge-1', { limit: 2 }, { asOf }), elsewhere);
    await assert.rejects(inventory.list({ asOf }, { limit: 2 }), elsewhere);
    const summary = await inventory.list({}, { limit: 2 });
    assert.deepEqual(summary.items, [
      { name: 'a', versions: [{ version: '1', hosts: 1 }] },
      {
        name: 'b',
        versions: [
          { version: '1', hosts: 1 },
          { version: '2', hosts: 1 },
        ],
      },
    ]);
    assert.deepEqual(
      (await inventory.list({}, { limit: 2, cursor: summary.next ?? '' })).items.map(({ name }) => name),
      ['c'],
    );
  });

  test('an answer to a check-in that was forgotten meanwhile changes nothing', async (t) => {
    const { inventory } = await open(t);
    await inventory.replace(find(component('a', '1')));
    const complete = await inventory.pending();
    assert(complete !== null);
    await inventory.acknowledge(complete);
    await inventory.replace(find(component('a', '2')));
    const delta = await inventory.pending();
    assert(delta !== null && delta.base !== null);
    await inventory.forget();
    await inventory.acknowledge(delta);
    assert.equal(inventory.ackedHash, null);
    assert.equal((await inventory.pending())?.base, null);
  });

  test('the other side always ends with what is installed, whatever changes while a check-in is under way', async (t) => {
    const set = fc
      .uniqueArray(fc.constantFrom('a', 'b', 'c', 'd'), { maxLength: 4 })
      .chain((names) =>
        fc
          .array(fc.constantFrom('1', '2'), { minLength: names.length, maxLength: names.length })
          .map((versions) => names.map((name, i) => component(name, versions[i] ?? '1'))),
      );
    const step = fc.oneof(
      fc.record({ kind: fc.constant('change' as const), set }),
      fc.record({ kind: fc.constant('send' as const), answered: fc.boolean(), meanwhile: fc.option(set) }),
      fc.record({ kind: fc.constant('restart' as const) }),
      fc.record({ kind: fc.constant('forget' as const) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 20 }), async (steps) => {
        const { reopen, inventory: first } = await open(t);
        let inventory = first;
        let theirs: Component[] = [];
        const send = async (answered: boolean, meanwhile: readonly Component[] | null) => {
          const checkIn = await inventory.pending();
          if (checkIn === null) return;
          if (meanwhile !== null) await inventory.replace(find(...meanwhile));
          if (checkIn.base !== null && checkIn.base !== inventoryHash(theirs)) return inventory.forget();
          theirs = after(theirs, checkIn);
          assert.equal(inventoryHash(theirs), checkIn.hash);
          if (answered) await inventory.acknowledge(checkIn);
        };
        for (const one of steps) {
          if (one.kind === 'change') await inventory.replace(find(...one.set));
          else if (one.kind === 'send') await send(one.answered, one.meanwhile);
          else if (one.kind === 'restart') inventory = await reopen();
          else await inventory.forget();
        }
        await send(true, null);
        // What we have may be what was acknowledged before a check-in whose answer was lost. Only a beat shows that.
        if (inventoryHash(theirs) !== inventory.hash) await inventory.forget();
        await send(true, null);
        assert.equal(await inventory.pending(), null);
        assert.equal(inventoryHash(theirs), inventory.hash);
      }),
      { numRuns: 60 },
    );
  });
});
