/** Doctor reports on SQL, of both wire formats. */
import type { Clock } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import { type Caller, systemCaller } from '../domain/access.ts';
import {
  type DoctorDraft,
  type DoctorReport,
  type DoctorSummary,
  type DoctorWire,
  decideFile,
  doctorEvent,
  doctorNotFound,
} from '../domain/doctor.ts';
import type { DoctorService, Page, PageRequest } from '../domain/services.ts';
import {
  type DoctorPlace,
  doctorFileOf,
  doctorRow,
  doctorStatements,
  doctorSummaryOf,
} from './doctor-sql.ts';
import type { Store, Transaction } from './engine/port.ts';
import { decodeCursor, encodeCursor, foreignCursor } from './page.ts';

/** Removed in one write: of the largest, 16 MiB. */
const forgetStepMax = 16;
/** Before the first of a list. */
const listStart: DoctorPlace = { atMs: Number.MAX_SAFE_INTEGER, id: '' };

export class DoctorStore implements DoctorService {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #sql: ReturnType<typeof doctorStatements>;

  constructor({ store, clock }: { store: Store; clock: Clock }) {
    this.#store = store;
    this.#clock = clock;
    this.#sql = doctorStatements(store.dialect);
  }

  async file(
    caller: Caller,
    draft: DoctorDraft,
  ): Promise<{ readonly created: boolean; readonly report: DoctorSummary }> {
    return this.#store.write(caller, async (tx) => {
      const row = await tx.get(this.#sql.one, { id: draft.id });
      const before = row === undefined ? null : doctorFileOf(row);
      const file = decideFile(before, draft, { sender: caller.subject, now: tx.now });
      if (file === null && row !== undefined) return { created: false, report: doctorSummaryOf(row) };
      if (file === null) throw new Error('only what is there can be there already');
      const kept = doctorRow(file);
      await tx.run(this.#sql.put, kept);
      await this.#makeRoom(tx, caller.subject);
      const report = doctorSummaryOf(kept);
      tx.append(doctorEvent('doctor.filed', report));
      return { created: before === null, report };
    });
  }

  /** A write, as the audit keeps who read it: what cannot be audited is not shown. */
  async read(caller: Caller, id: string, wire?: DoctorWire): Promise<DoctorReport> {
    const { text, ...summary } = await this.#store.write(caller, async (tx) => {
      const row = await tx.get(this.#sql.one, { id });
      if (row === undefined || (wire !== undefined && row.wire !== wire)) throw doctorNotFound(id);
      const file = doctorFileOf(row);
      tx.append(doctorEvent('doctor.read', file));
      return file;
    });
    return { ...summary, body: JSON.parse(text) as unknown };
  }

  async list(page: PageRequest): Promise<Page<DoctorSummary>> {
    const { epoch, revision } = this.#store.log.head();
    const place = page.cursor === undefined ? listStart : placeOf(page.cursor);
    const rows = await this.#store.read((session) =>
      session.all(this.#sql.page, { ...place, limit: page.limit + 1 }),
    );
    const items = rows.slice(0, page.limit).map(doctorSummaryOf);
    const last = items.at(-1);
    return {
      items,
      next:
        rows.length > page.limit && last !== undefined ? encodeCursor([String(last.atMs), last.id]) : null,
      asOfMs: this.#clock.now(),
      position: { epoch, revision },
      stale: false,
    };
  }

  async remove(caller: Caller, id: string): Promise<void> {
    return this.#store.write(caller, async (tx) => {
      const row = await tx.get(this.#sql.one, { id });
      if (row === undefined) throw doctorNotFound(id);
      await tx.run(this.#sql.remove, { id });
      tx.append(doctorEvent('doctor.removed', doctorSummaryOf(row)));
    });
  }

  /** Removes what is older than `limits.doctorKeptMs`, in small steps. */
  async forget(): Promise<void> {
    const beforeMs = this.#clock.now() - limits.doctorKeptMs;
    for (;;) {
      const removed = await this.#store.write(systemCaller, async (tx) => {
        const old = await tx.all(this.#sql.olderThan, { beforeMs, limit: forgetStepMax });
        for (const { id } of old) await tx.run(this.#sql.remove, { id });
        return old.length;
      });
      if (removed < forgetStepMax) return;
    }
  }

  /** The oldest leave: first those of the same sender, so that one of many cannot push out what others sent. */
  async #makeRoom(tx: Transaction, sender: string): Promise<void> {
    const limit = forgetStepMax;
    const own = { sender, kept: limits.doctorSenderReportsMax, limit };
    for (const { id } of await tx.all(this.#sql.beyondOfSender, own)) await tx.run(this.#sql.remove, { id });
    const all = { kept: limits.doctorReportsMax, limit };
    for (const { id } of await tx.all(this.#sql.beyond, all)) await tx.run(this.#sql.remove, { id });
  }
}

function placeOf(cursor: string): DoctorPlace {
  const [at = '', id = ''] = decodeCursor(cursor, 2);
  const atMs = Number(at);
  if (!/^\d{1,16}$/.test(at) || !Number.isSafeInteger(atMs)) throw foreignCursor();
  return { atMs, id };
}
