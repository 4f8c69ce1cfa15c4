/** What doctor reports promise, on any store. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { limits } from '../../src/base/limits.ts';
import type { Caller } from '../../src/domain/access.ts';
import type { DoctorDraft, DoctorSummary } from '../../src/domain/doctor.ts';
import { isAppError } from '../../src/domain/error.ts';
import type { ChangeEvent } from '../../src/domain/event.ts';
import type { Page } from '../../src/domain/services.ts';
import { AuditStore } from '../../src/store/audit.ts';
import { DoctorStore } from '../../src/store/doctor.ts';
import { FakeClock } from '../helpers/clock.ts';
import type { OpenStoreForTest } from './liveness.contract.ts';

const ann: Caller = { role: 'admin', subject: 'ann' };
const edge: Caller = { role: 'host', subject: 'host:edge-1', hostId: '018f0000-0000-7000-8000-000000000001' };

export function doctorContract(openStore: OpenStoreForTest): void {
  const open = async (t: TestContext) => {
    const clock = new FakeClock();
    const store = await openStore(t, clock);
    const events: ChangeEvent[] = [];
    store.log.subscribe((revisions) => events.push(...revisions.flatMap((revision) => revision.events)));
    return {
      clock,
      events,
      doctor: new DoctorStore({ store, clock }),
      audit: new AuditStore({ store, clock }),
    };
  };
  const draft = (id: string, more: Partial<DoctorDraft> = {}): DoctorDraft => ({
    ...{ id, wire: 'v1', host: 'edge-1', comment: null, body: { load: [0.1] } },
    ...more,
  });
  const is = (code: Parameters<typeof isAppError>[1]) => (error: unknown) => isAppError(error, code);
  const idsOf = async (doctor: DoctorStore) =>
    (await doctor.list({ limit: 1_000 })).items.map(({ id }) => id);

  describe('DoctorStore.file()', () => {
    it('keeps a v1 report once: the same again changes nothing, another is a conflict', async (t) => {
      const { doctor, events, clock } = await open(t);
      const { created, report } = await doctor.file(edge, draft('a', { comment: 'hot\nand loud' }));
      assert.ok(created);
      assert.deepEqual(report, {
        ...{ id: 'a', wire: 'v1', host: 'edge-1', comment: 'hot\nand loud', sender: 'host:edge-1' },
        ...{ bytes: 14, atMs: clock.now() },
      });
      await clock.advance(1);
      const again = await doctor.file(edge, draft('a', { comment: 'hot\nand loud' }));
      assert.deepEqual(again, { created: false, report });
      for (const other of [{ comment: 'cold' }, { body: {} }, { host: 'edge-2' }, { wire: 'v3' as const }])
        await assert.rejects(
          doctor.file(edge, draft('a', { comment: 'hot\nand loud', ...other })),
          is('conflict'),
        );
      assert.deepEqual(
        events.map(({ type, host }) => [type, host]),
        [['doctor.filed', 'edge-1']],
      );
      assert.ok(!JSON.stringify(events).includes('load'), 'what it says is in no event');
    });

    it('inventory 65: puts a second v3 report in the place of the first', async (t) => {
      const { doctor } = await open(t);
      const v3 = { wire: 'v3', host: 'a-cluster' } as const;
      assert.equal((await doctor.file(ann, draft('u', v3))).created, true);
      assert.equal((await doctor.file(ann, draft('u', { ...v3, body: { nodes: [] } }))).created, false);
      assert.deepEqual((await doctor.read(ann, 'u', 'v3')).body, { nodes: [] });
      assert.deepEqual(await idsOf(doctor), ['u']);
      await assert.rejects(doctor.file(ann, draft('u')), is('conflict'));
    });

    it('refuses what is too large and what can be no comment, and keeps nothing of it', async (t) => {
      const { doctor } = await open(t);
      const text = 'x'.repeat(limits.doctorReportBytes - 2);
      await assert.rejects(doctor.file(edge, draft('b', { body: `${text}x` })), is('too-large'));
      const wrong = [
        { comment: 'bell\u0007' },
        { comment: 'x'.repeat(limits.doctorCommentBytes + 1) },
        { host: '' },
        { id: '' },
      ];
      for (const one of wrong)
        await assert.rejects(doctor.file(edge, draft('b', one)), (error) => {
          const [field] = Object.keys(one);
          return isAppError(error, 'bad-request') && error.field === field;
        });
      assert.deepEqual(await idsOf(doctor), []);
      assert.ok((await doctor.file(edge, draft('b', { body: text }))).created);
    });

    it('lets the oldest of a sender leave when it has many, and nothing of others', async (t) => {
      const { doctor, clock } = await open(t);
      await doctor.file(ann, draft('other'));
      const ids = Array.from({ length: limits.doctorSenderReportsMax + 2 }, (_, n) => `r-${n}`);
      for (const id of ids) {
        await clock.advance(1);
        await doctor.file(edge, draft(id));
      }
      assert.deepEqual(await idsOf(doctor), [...ids.slice(2).reverse(), 'other']);
    });
  });

  describe('DoctorStore.read()', () => {
    it('answers what was sent, and the audit tells who read it', async (t) => {
      const { doctor, audit } = await open(t);
      const { report } = await doctor.file(edge, draft('a'));
      assert.deepEqual(await doctor.read(ann, 'a'), { ...report, body: { load: [0.1] } });
      const { items } = await audit.list({ type: ['doctor.*'] }, { limit: 10 });
      assert.deepEqual(
        items.map(({ actor, type, host }) => [actor, type, host]),
        [['ann', 'doctor.read', 'edge-1']],
      );
    });

    it('finds no report of the other wire format, none that is removed, and none that is old', async (t) => {
      const { doctor, clock } = await open(t);
      await doctor.file(edge, draft('a'));
      await assert.rejects(doctor.read(ann, 'a', 'v3'), is('not-found'));
      await doctor.remove(ann, 'a');
      await assert.rejects(doctor.read(ann, 'a'), is('not-found'));
      await assert.rejects(doctor.remove(ann, 'a'), is('not-found'));
      for (let n = 0; n < 20; n += 1) await doctor.file(edge, draft(`old-${n}`));
      clock.stall(1);
      await doctor.file(edge, draft('new'));
      clock.stall(limits.doctorKeptMs);
      await doctor.forget();
      assert.deepEqual(await idsOf(doctor), ['new']);
    });
  });

  describe('DoctorStore.list()', () => {
    it('goes from the latest to the oldest, page by page, each once', async (t) => {
      const { doctor, clock } = await open(t);
      for (const id of ['c', 'a', 'b', 'd', 'e']) {
        await doctor.file(edge, draft(id));
        if (id === 'b') await clock.advance(1);
      }
      const seen: string[] = [];
      let cursor: string | null = null;
      do {
        const page: Page<DoctorSummary> = await doctor.list({
          limit: 2,
          ...(cursor === null ? {} : { cursor }),
        });
        seen.push(...page.items.map(({ id }) => id));
        cursor = page.next;
      } while (cursor !== null);
      assert.deepEqual(seen, ['e', 'd', 'c', 'b', 'a']);
      await assert.rejects(doctor.list({ limit: 2, cursor: 'bm8' }), is('bad-request'));
    });
  });
}
