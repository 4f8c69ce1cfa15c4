/** What taking over promises, on any store. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { limits } from '../../src/base/limits.ts';
import type { Caller } from '../../src/domain/access.ts';
import type { DoctorDraft } from '../../src/domain/doctor.ts';
import type { ChangeEvent } from '../../src/domain/event.ts';
import type { ImportBatch, ImportedRelease, ImportResults } from '../../src/domain/import.ts';
import { ClusterStore } from '../../src/store/cluster.ts';
import { DoctorStore } from '../../src/store/doctor.ts';
import { ImportStore } from '../../src/store/import.ts';
import { ReleaseStore } from '../../src/store/release.ts';
import { TrainStore } from '../../src/store/train.ts';
import { FakeClock } from '../helpers/clock.ts';
import type { OpenStoreForTest } from './liveness.contract.ts';

const ann: Caller = { role: 'admin', subject: 'ann' };
const id = '4f0d9118-cfaa-4265-9335-cc31c6c7f15f';
const may = Date.UTC(2016, 4, 1);
const none: ImportBatch = { clusters: [], checkIns: [], releases: [], doctorReports: [] };

export function importContract(openStore: OpenStoreForTest): void {
  const open = async (t: TestContext) => {
    const clock = new FakeClock();
    const store = await openStore(t, clock);
    const events: ChangeEvent[] = [];
    store.log.subscribe((revisions) => events.push(...revisions.flatMap((revision) => revision.events)));
    const imports = new ImportStore({ store });
    return {
      ...{ clock, events },
      clusters: new ClusterStore({ store }),
      doctor: new DoctorStore({ store, clock }),
      releases: new ReleaseStore({ store, clock, trains: new TrainStore({ store, clock }) }),
      take: (batch: Partial<ImportBatch>) => imports.take(ann, { ...none, ...batch }),
    };
  };
  const outcomes = (results: ImportResults) =>
    Object.values(results).map((list) => list.map(({ outcome }) => outcome).join(' '));
  const checkIn = (atMs: number, count = 1, cluster = id) => ({ cluster, atMs, count });
  const cluster = (components: unknown[] = ['old'], name = id) => ({ id: name, components });
  const release = (version: string, description = 'notes'): ImportedRelease => ({
    ...{ component: 'api', train: 'beta', version },
    content: { releasedMs: may, description, fixes: null, image: null, data: { build: [1] } },
  });
  const report = (name: string, body: unknown = { workflow: { id } }): DoctorDraft => ({
    ...{ id: name, wire: 'v3', host: id, comment: null, body },
  });

  describe('ImportStore.take()', () => {
    it('takes clusters as often and when they checked in; the same again changes nothing', async (t) => {
      const { take, clusters, events } = await open(t);
      const batch = {
        clusters: [cluster()],
        checkIns: [checkIn(may + 5, 2), checkIn(may), checkIn(may + 9)],
      };
      assert.deepEqual(outcomes(await take(batch)), ['added', 'added added added', '', '']);
      const known = { ...cluster(), firstSeenMs: may, lastSeenMs: may + 9, checkins: 4 };
      assert.deepEqual(await clusters.get(id), known);
      assert.deepEqual(outcomes(await take(batch)), ['unchanged', 'unchanged unchanged unchanged', '', '']);
      assert.deepEqual(await clusters.get(id), known);
      assert.deepEqual(events, []);
    });

    it('takes the rest of a cluster later, in any order and any spelling of its id', async (t) => {
      const { take, clusters } = await open(t);
      await take({ clusters: [cluster()], checkIns: [checkIn(may)] });
      const upper = id.toUpperCase();
      const results = await take({ checkIns: [checkIn(may - 7, 1, upper), checkIn(may + 7, 3, upper)] });
      assert.deepEqual(outcomes(results), ['', 'added added', '', '']);
      const { firstSeenMs, lastSeenMs, checkins } = await clusters.get(id);
      assert.deepEqual([firstSeenMs, lastSeenMs, checkins], [may - 7, may + 7, 5]);
    });

    it('holds the greater count of an instant', async (t) => {
      const { take, clusters } = await open(t);
      await take({ clusters: [cluster()], checkIns: [checkIn(may, 3)] });
      assert.deepEqual(outcomes(await take({ checkIns: [checkIn(may, 2)] })), ['', 'unchanged', '', '']);
      assert.equal((await clusters.get(id)).checkins, 3);
      assert.deepEqual(outcomes(await take({ checkIns: [checkIn(may, 4)] })), ['', 'changed', '', '']);
      assert.equal((await clusters.get(id)).checkins, 4);
      // Twice in one batch: once.
      await take({ checkIns: [checkIn(may + 1, 1), checkIn(may + 1, 2)] });
      assert.equal((await clusters.get(id)).checkins, 6);
    });

    it('takes what a cluster said last, unless it has checked in here since', async (t) => {
      const { take, clusters } = await open(t);
      await take({ clusters: [cluster()], checkIns: [checkIn(may)] });
      await take({ clusters: [cluster(['newer'])], checkIns: [checkIn(may + 1)] });
      assert.deepEqual((await clusters.get(id)).components, ['newer']);
      await take({ clusters: [cluster(['older'])], checkIns: [checkIn(may - 1)] });
      assert.deepEqual((await clusters.get(id)).components, ['newer']);
      const live = await clusters.checkIn(ann, cluster(['live']));
      const after = await take({ clusters: [cluster(['newest'])], checkIns: [checkIn(may + 2)] });
      assert.deepEqual(outcomes(after), ['changed', 'added', '', '']);
      const known = await clusters.get(id);
      assert.deepEqual(known, { ...live, firstSeenMs: may - 1, checkins: 5 });
    });

    it('judges each item for itself', async (t) => {
      const { take, clusters, clock } = await open(t);
      const results = await take({
        clusters: [cluster([], 'age'), cluster([], 'silent'), cluster([], 'good')],
        checkIns: [
          checkIn(may, 1, 'age'),
          checkIn(may, 1, 'unknown'),
          checkIn(clock.now() + 1, 1, 'good'),
          checkIn(may, 1, 'good'),
        ],
        releases: [release('latest'), release('1'), { ...release('1'), component: '' }],
        doctorReports: [report(''), report('one'), report('two', 'x'.repeat(limits.doctorReportBytes))],
      });
      assert.deepEqual(outcomes(results), [
        'refused refused added',
        'refused refused refused added',
        'refused added refused',
        'refused added refused',
      ]);
      assert.match(results.clusters[1]?.problem ?? '', /it has no check-in/);
      assert.match(results.checkIns[1]?.problem ?? '', /there is no such cluster/);
      assert.match(results.checkIns[2]?.problem ?? '', /yet to come/);
      assert.equal(await clusters.count(), 1);
    });

    it('takes releases and reports once, and keeps what there is under their names', async (t) => {
      const { take, releases, doctor, events } = await open(t);
      const batch = { releases: [release('1'), release('2')], doctorReports: [report('one')] };
      assert.deepEqual(outcomes(await take(batch)), ['', '', 'added added', 'added']);
      assert.deepEqual(
        events.map(({ type }) => type),
        ['release.published', 'release.published', 'doctor.filed'],
      );
      assert.deepEqual(outcomes(await take(batch)), ['', '', 'unchanged unchanged', 'unchanged']);
      const other = { releases: [release('1', 'other')], doctorReports: [report('one', { workflow: {} })] };
      const kept = await take(other);
      assert.deepEqual(outcomes(kept), ['', '', 'kept', 'kept']);
      assert.match(kept.releases[0]?.problem ?? '', /another release of this name/);
      const one = await releases.get({ component: 'api', train: 'beta', version: '1' });
      assert.deepEqual([one.description, one.releasedMs, one.publishedBy], ['notes', may, 'ann']);
      assert.deepEqual((await doctor.read(ann, 'one', 'v3')).body, { workflow: { id } });
      await doctor.file(ann, { ...report('ours'), wire: 'v1' });
      assert.deepEqual(outcomes(await take({ doctorReports: [report('ours')] })), ['', '', '', 'refused']);
    });

    it('pushes no doctor report out', async (t) => {
      const { take, doctor } = await open(t);
      await doctor.file(ann, { ...report('ours'), wire: 'v1' });
      const many = Array.from({ length: limits.doctorReportsMax }, (_, n) => report(`r${n}`));
      const { doctorReports } = await take({ doctorReports: many });
      assert.deepEqual(
        doctorReports.map(({ outcome }) => outcome),
        [...many.slice(1).map(() => 'added'), 'refused'],
      );
      assert.match(doctorReports.at(-1)?.problem ?? '', /there are 1000 doctor reports/);
      assert.equal((await doctor.read(ann, 'ours')).wire, 'v1');
    });
  });
}
