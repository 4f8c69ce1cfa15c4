/** Each step of one host itself: from the rows that changes have replaced, and the row that is. */
import { type HostPastStep, hostPastStep } from '../domain/host-history.ts';
import { normaliseHostName, parseUuid } from '../domain/ids.ts';
import type { Dialect, Session } from './engine/port.ts';
import { type HostStateRow, hostPastStatements, pastRecordOf } from './host-past-sql.ts';

export class HostSteps {
  readonly #sql: ReturnType<typeof hostPastStatements>;

  constructor(dialect: Dialect) {
    this.#sql = hostPastStatements(dialect);
  }

  /** The first `limit` after a moment, until another; in the order of time, one for each moment. */
  async after(
    session: Session,
    { no, afterMs, toMs, limit }: { no: number; afterMs: number; toMs: number; limit: number },
  ): Promise<HostPastStep[]> {
    const steps: HostPastStep[] = [];
    let doneMs = afterMs;
    // Rows that differ in nothing that is shown make no step: more are read until there are enough.
    const rowsMax = limit + 2;
    for (;;) {
      const found = await session.all(this.#sql.statesAfter, { no, afterMs: doneMs, toMs, limit: rowsMax });
      const past = found.filter(({ to_ms: endMs }) => endMs !== null);
      const isAll = past.length < rowsMax;
      const rows = isAll ? found : past.slice(0, -1);
      for (const [index, row] of rows.entries())
        steps.push(...stepsOf(row, rows[index - 1], { afterMs: doneMs, toMs }));
      const last = rows.at(-1);
      if (isAll || last === undefined || steps.length >= limit) return steps.slice(0, limit);
      // The last row is read again, as what was before the next one; that there is one says that it was not removed.
      doneMs = last.from_ms;
    }
  }

  /** The number of the host that had this id, or this name last, in a stretch; not of one that has it now only. */
  async called(
    session: Session,
    idOrName: string,
    stretch: { readonly fromMs: number; readonly toMs: number },
  ): Promise<number | undefined> {
    const names = { id: parseUuid(idOrName) ?? '', name: normaliseHostName(idOrName) };
    return (await session.get(this.#sql.called, { ...names, ...stretch }))?.no;
  }
}

/** What began with a row, and that the host was removed at its end. */
function stepsOf(
  row: HostStateRow,
  before: HostStateRow | undefined,
  { afterMs, toMs }: { readonly afterMs: number; readonly toMs: number },
): HostPastStep[] {
  const { from_ms: fromMs, to_ms: endMs, removed } = row;
  const record = pastRecordOf(row);
  const began =
    fromMs > afterMs && fromMs <= toMs
      ? hostPastStep(fromMs, before === undefined ? null : pastRecordOf(before), record)
      : null;
  const ended = removed === 1 && endMs !== null && endMs <= toMs ? hostPastStep(endMs, record, null) : null;
  return [began, ended].filter((step) => step !== null);
}
