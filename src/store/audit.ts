/** The audit as it is read, checked and forgotten. It is written by the engine (engine/audit-trail.ts). */
import type { CompiledQuery, Kysely } from 'kysely';
import type { Clock } from '../base/clock.ts';
import { type Caller, systemCaller } from '../domain/access.ts';
import { type AuditEntry, type AuditVerification, auditKeptMs } from '../domain/audit.ts';
import { type EventType, eventTypes } from '../domain/event.ts';
import type { AuditFilter, AuditService, Page, PageRequest } from '../domain/services.ts';
import {
  type AuditStatements,
  auditEntryOf,
  auditStatements,
  readMark,
  verifyAudit,
} from './engine/audit-trail.ts';
import type { Store } from './engine/port.ts';
import { type AuditRow, queryBuilder, type Schema } from './engine/query.ts';
import { decodeCursor, encodeCursor } from './page.ts';

/** A second refusal of the same kind within this time is not told. */
const refusalQuietMs = 60_000;
/** Kinds of refusals that are remembered; beyond it the oldest are forgotten and may be told again. */
const refusalsMax = 10_000;
/** Entries in one write: about a millisecond. */
const forgetStepMax = 500;

export class AuditStore implements AuditService {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #sql: AuditStatements;
  readonly #db: Kysely<Schema>;
  /** When a refusal was last told, by subject and operation. */
  readonly #told = new Map<string, number>();

  constructor({ store, clock }: { store: Store; clock: Clock }) {
    this.#store = store;
    this.#clock = clock;
    this.#sql = auditStatements(store.dialect);
    this.#db = queryBuilder(store.dialect);
  }

  async list(filter: AuditFilter, page: PageRequest): Promise<Page<AuditEntry>> {
    const { epoch, revision } = this.#store.log.head();
    const before = page.cursor === undefined ? null : Number(decodeCursor(page.cursor, 1)[0]);
    const query = this.#query(filter, Number.isSafeInteger(before) ? before : null, page.limit + 1);
    const rows = await this.#store.read((session) => session.query(query));
    const items = rows.slice(0, page.limit).map(auditEntryOf);
    const last = items.at(-1);
    return {
      items,
      next: rows.length > page.limit && last !== undefined ? encodeCursor([String(last.seq)]) : null,
      asOfMs: this.#clock.now(),
      position: { epoch, revision },
      stale: false,
    };
  }

  verify(noted: { seq: number; hash: string } | null = null): Promise<AuditVerification> {
    const pause = () => new Promise<void>((resolve) => this.#clock.nextTurn(resolve));
    return verifyAudit((fn) => this.#store.read(fn), this.#sql, { pause, noted });
  }

  async refused(caller: Caller, operation: string, path: string): Promise<void> {
    const key = `${caller.subject}\0${operation}`;
    const nowMs = this.#clock.monotonic();
    const toldMs = this.#told.get(key);
    if (toldMs !== undefined && nowMs - toldMs < refusalQuietMs) return;
    // Put behind all others, so that the first of the map is the oldest.
    this.#told.delete(key);
    this.#told.set(key, nowMs);
    if (this.#told.size > refusalsMax) this.#told.delete(this.#told.keys().next().value ?? '');
    const body = { role: caller.role, token: caller.tokenId ?? null, operation, path };
    await this.#store.write(caller, async (tx) => tx.append({ type: 'token.refused', body }));
  }

  /** Deletes what is older than 400 days, always the oldest, so that the chain begins later and has no hole. */
  async forget(): Promise<void> {
    const beforeMs = this.#clock.now() - auditKeptMs;
    for (;;) {
      const deleted = await this.#store.write(systemCaller, async (tx) => {
        const { seq } = await readMark(tx, this.#sql, 'audit_base');
        const rows = await tx.all(this.#sql.after, { seq, limit: forgetStepMax });
        const keep = rows.findIndex((row) => row.at_ms >= beforeMs);
        const last = (keep === -1 ? rows : rows.slice(0, keep)).at(-1);
        if (last === undefined) return 0;
        await tx.run(this.#sql.dropThrough, { seq: last.seq });
        await tx.run(this.#sql.putMeta, { key: 'audit_base', value: `${last.seq} ${last.hash}` });
        return last.seq - seq;
      });
      if (deleted < forgetStepMax) return;
    }
  }

  /** Filters vary, so this one is built per call. */
  #query(filter: AuditFilter, beforeSeq: number | null, limit: number): CompiledQuery<AuditRow> {
    let query = this.#db.selectFrom('audit').selectAll().orderBy('seq', 'desc').limit(limit);
    if (beforeSeq !== null) query = query.where('seq', '<', beforeSeq);
    if (filter.actor !== undefined) query = query.where('actor', 'in', filter.actor);
    if (filter.host !== undefined) query = query.where('host', 'in', filter.host);
    if (filter.sinceMs !== undefined) query = query.where('at_ms', '>=', filter.sinceMs);
    if (filter.untilMs !== undefined) query = query.where('at_ms', '<', filter.untilMs);
    const { type: types } = filter;
    if (types !== undefined) query = query.where('type', 'in', types.flatMap(typesOf));
    return query.compile();
  }
}

/** A family is all its types. */
function typesOf(type: string): EventType[] {
  return eventTypes.filter((one) => (type.endsWith('.*') ? one.startsWith(type.slice(0, -1)) : one === type));
}
