/**
 * The audit's entries, written in the transaction of the change that they tell of: a change without its entry cannot
 * commit. Each is chained to the one before by its hash, and meta `audit_head` holds the end of the chain, so that an
 * entry that was edited, deleted, moved or cut off shows (`verifyAudit`).
 */
import { hash as digest } from 'node:crypto';
import type { Caller } from '../../domain/access.ts';
import { type AuditEntry, type AuditVerification, auditText, isAudited } from '../../domain/audit.ts';
import type { ChangeEvent } from '../../domain/event.ts';
import { emptyHash } from './log.ts';
import type { Dialect, Session } from './port.ts';
import { type Arg, type AuditRow, compile } from './query.ts';

/** One call's share of a batch: who made it, when, and what it has done. */
export interface AuditedCall {
  readonly caller: Caller;
  readonly now: number;
  readonly events: readonly ChangeEvent[];
}

/** A place in the chain. */
export interface AuditMark {
  readonly seq: number;
  readonly hash: string;
}

export class AuditTrail {
  readonly #sql: AuditStatements;

  constructor(dialect: Dialect) {
    this.#sql = auditStatements(dialect);
  }

  /** Inside the open transaction. Costs nothing while nobody did anything that is audited. */
  async append(session: Session, calls: readonly AuditedCall[]): Promise<void> {
    const acts = calls.flatMap((call) =>
      call.events.filter(({ type }) => isAudited(call.caller, type)).map((event) => ({ ...call, event })),
    );
    if (acts.length === 0) return;
    let mark = await readMark(session, this.#sql, 'audit_head');
    for (const { caller, now, event } of acts) {
      const row = rowOf(mark, { caller, now, event });
      await session.run(this.#sql.insert, row);
      mark = { seq: row.seq, hash: row.hash };
    }
    await session.run(this.#sql.putMeta, { key: 'audit_head', value: `${mark.seq} ${mark.hash}` });
  }
}

export type AuditStatements = ReturnType<typeof auditStatements>;

export function auditStatements(dialect: Dialect) {
  return {
    insert: compile(dialect, (db, arg: Arg<AuditRow>) =>
      db.insertInto('audit').values({
        seq: arg('seq'),
        at_ms: arg('at_ms'),
        actor: arg('actor'),
        role: arg('role'),
        token_id: arg('token_id'),
        type: arg('type'),
        host: arg('host'),
        position: arg('position'),
        body: arg('body'),
        hash: arg('hash'),
      }),
    ),
    after: compile(dialect, (db, arg: Arg<{ seq: number; limit: number }>) =>
      db.selectFrom('audit').selectAll().where('seq', '>', arg('seq')).orderBy('seq').limit(arg('limit')),
    ),
    /** Of the log, as far as it is kept. */
    revision: compile(dialect, (db, arg: Arg<{ revision: number }>) =>
      db.selectFrom('revisions').select('events').where('revision', '=', arg('revision')),
    ),
    dropThrough: compile(dialect, (db, arg: Arg<{ seq: number }>) =>
      db.deleteFrom('audit').where('seq', '<=', arg('seq')),
    ),
    getMeta: compile(dialect, (db, arg: Arg<{ key: string }>) =>
      db.selectFrom('meta').select('value').where('key', '=', arg('key')),
    ),
    putMeta: compile(dialect, (db, arg: Arg<{ key: string; value: string }>) =>
      db
        .insertInto('meta')
        .values({ key: arg('key'), value: arg('value') })
        .onConflict((conflict) =>
          conflict.column('key').doUpdateSet({ value: (row) => row.ref('excluded.value') }),
        ),
    ),
  };
}

/** `audit_head`: the last entry. `audit_base`: the last one that was forgotten. */
export async function readMark(
  session: Session,
  sql: AuditStatements,
  key: 'audit_head' | 'audit_base',
): Promise<AuditMark> {
  const [seq = '0', hash = emptyHash] = (await session.get(sql.getMeta, { key }))?.value.split(' ') ?? [];
  return { seq: Number(seq), hash };
}

export function auditEntryOf(row: AuditRow): AuditEntry {
  const { seq, actor, role, type, host, position, hash } = row;
  const body = JSON.parse(row.body) as unknown;
  return { seq, atMs: row.at_ms, actor, role, tokenId: row.token_id, type, host, position, body, hash };
}

/** Entries looked at in one read. */
const stepMax = 500;

/**
 * Walks the chain from the first entry kept to its end and names the first that is not as it was written. Whoever may
 * write the database can also forge the whole chain; `noted` is an end of it that somebody has kept elsewhere, and what
 * each entry tells of the log is compared with it as far as that still reaches: the log's own chain is witnessed by
 * every host. `pause` between the reads lets others in.
 */
export async function verifyAudit(
  read: <T>(fn: (session: Session) => Promise<T>) => Promise<T>,
  sql: AuditStatements,
  { pause, noted = null }: { pause: () => Promise<void>; noted?: AuditMark | null },
): Promise<AuditVerification> {
  const { base, head } = await read(async (session) => ({
    base: await readMark(session, sql, 'audit_base'),
    head: await readMark(session, sql, 'audit_head'),
  }));
  const about = { head, from: base.seq + 1 };
  if (noted !== null && noted.seq > head.seq) {
    const detail = `entries ${head.seq + 1} to ${noted.seq} are missing: the end was cut off`;
    return { ok: false, ...about, seq: head.seq + 1, detail };
  }
  let mark = base;
  while (mark.seq < head.seq) {
    const { seq } = mark;
    const found = await read((session) => session.all(sql.after, { seq, limit: stepMax }));
    // Read after them: what was forgotten meanwhile is no hole.
    const forgotten = await read((session) => readMark(session, sql, 'audit_base'));
    if (forgotten.seq > seq) mark = forgotten;
    else if (found.length === 0) {
      const detail = `entries ${seq + 1} to ${head.seq} are missing: the end was cut off`;
      return { ok: false, ...about, seq: seq + 1, detail };
    }
    const rows = found.filter((row) => row.seq > mark.seq);
    for (const row of rows) {
      if (row.seq > head.seq) break;
      const detail = flawOf(row, mark) ?? notedFlaw(row, noted);
      if (detail !== null) return { ok: false, ...about, seq: mark.seq + 1, detail };
      mark = { seq: row.seq, hash: row.hash };
    }
    const untold = await read((session) => findUntold(session, sql, rows));
    if (untold !== undefined) {
      const detail = `entry ${untold.seq} tells of revision ${untold.position} what the log does not`;
      return { ok: false, ...about, seq: untold.seq, detail };
    }
    await pause();
  }
  if (mark.seq === head.seq && mark.hash !== head.hash)
    return {
      ok: false,
      ...about,
      seq: head.seq,
      detail: `entry ${head.seq} is another than was written last`,
    };
  const beyond = await read((session) => session.all(sql.after, { seq: head.seq, limit: 1 }));
  const now = await read((session) => readMark(session, sql, 'audit_head'));
  const [stray] = beyond;
  if (stray !== undefined && now.seq < stray.seq)
    return { ok: false, ...about, seq: stray.seq, detail: `entry ${stray.seq} was added behind the end` };
  return { ok: true, ...about };
}

function flawOf(row: AuditRow, before: AuditMark): string | null {
  const expected = before.seq + 1;
  if (row.seq !== expected) return `entry ${expected} is missing`;
  if (row.hash === chained(before.hash, row)) return null;
  return `entry ${expected} is not as it was written: it was changed, or put in another's place`;
}

function notedFlaw(row: AuditRow, noted: AuditMark | null): string | null {
  if (noted === null || row.seq !== noted.seq || row.hash === noted.hash) return null;
  return `entry ${row.seq} is another than was noted: the chain up to it was written anew`;
}

/**
 * The first entry whose event is not in the log, where the log still reaches. Revision by revision: between two entries
 * there may be a million of them, of hosts.
 */
async function findUntold(
  session: Session,
  sql: AuditStatements,
  rows: readonly AuditRow[],
): Promise<AuditRow | undefined> {
  let told: { readonly revision: number; readonly events: readonly ChangeEvent[] | null } | undefined;
  for (const row of rows) {
    const revision = Number(row.position.split('.')[1]);
    if (told?.revision !== revision) {
      const kept = await session.get(sql.revision, { revision });
      told = { revision, events: kept === undefined ? null : (JSON.parse(kept.events) as ChangeEvent[]) };
    }
    if (told.events !== null && !told.events.some((event) => isEntryOf(row, event))) return row;
  }
  return undefined;
}

function isEntryOf(row: AuditRow, { position, type, actor, body }: ChangeEvent): boolean {
  return (
    position === row.position &&
    type === row.type &&
    actor === row.actor &&
    JSON.stringify(body ?? null) === row.body
  );
}

function rowOf(
  before: AuditMark,
  { caller, now, event }: { caller: Caller; now: number; event: ChangeEvent },
): AuditRow {
  const row = {
    seq: before.seq + 1,
    at_ms: now,
    actor: caller.subject,
    role: caller.role,
    token_id: caller.tokenId ?? null,
    type: event.type,
    host: event.host ?? null,
    position: event.position,
    body: JSON.stringify(event.body ?? null),
  };
  return { ...row, hash: chained(before.hash, row) };
}

function chained(before: string, row: Omit<AuditRow, 'hash'>): string {
  const { seq, actor, role, type, host, position, body } = row;
  const text = auditText({
    seq,
    atMs: row.at_ms,
    actor,
    role,
    tokenId: row.token_id,
    type,
    host,
    position,
    body,
  });
  return `sha256:${digest('sha256', before + text)}`;
}
