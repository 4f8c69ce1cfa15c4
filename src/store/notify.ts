/**
 * How far each sink has been told, on SQL. A place moves on in one transaction with what is remembered of the things that
 * were told: whoever is killed before has sent a message that is sent again, under the same id, and nothing else.
 */
import { systemCaller } from '../domain/access.ts';
import type { Position } from '../domain/event.ts';
import { type SubjectState, stateKey } from '../domain/notify-batch.ts';
import type { Store } from './engine/port.ts';
import type { NotifyPlaceRow } from './engine/query.ts';
import { notifyStatements, rowOfState, stateOfRow } from './notify-sql.ts';

/** What is on its way to a sink: the stretch of the log up to `until`, with what was held and is due. */
export interface Sending {
  readonly until: number;
  readonly startedMs: number;
  /** Of states whose held events are told, by `stateKey`. */
  readonly due: readonly string[];
  /** Ids of the messages that it has taken already. */
  readonly taken: readonly string[];
}

/** How a sink is. */
export interface SinkPlace {
  readonly sink: string;
  /** Up to here it has taken all that is for it. */
  readonly position: Position;
  readonly sending: Sending | null;
  readonly delivered: number;
  readonly failed: number;
  readonly dropped: number;
  readonly missed: number;
  readonly lastSuccessMs: number | null;
  readonly lastError: { readonly atMs: number; readonly detail: string } | null;
}

/** More than these of one sink are not held back, and do not fire, at one time. */
const rowsMax = 10_000;

export class NotifyStore {
  readonly #store: Store;
  readonly #sql: ReturnType<typeof notifyStatements>;

  constructor({ store }: { store: Store }) {
    this.#store = store;
    this.#sql = notifyStatements(store.dialect);
  }

  /**
   * The places of these sinks. One that is new begins at the end of the log: it is not told the past. Of others nothing
   * is remembered.
   */
  async open(sinks: readonly string[]): Promise<Map<string, SinkPlace>> {
    const { epoch, revision } = this.#store.log.head();
    const places = new Map(
      (await this.#store.read((session) => session.all(this.#sql.places, {}))).map((row) => [
        row.sink,
        placeOf(row),
      ]),
    );
    const gone = [...places.keys()].filter((sink) => !sinks.includes(sink));
    const fresh = sinks
      .filter((sink) => !places.has(sink))
      .map((sink) => newPlace(sink, { epoch, revision }));
    if (gone.length > 0 || fresh.length > 0) {
      await this.#store.write(systemCaller, async (tx) => {
        for (const sink of gone) {
          await tx.run(this.#sql.removePlace, { sink });
          await tx.run(this.#sql.removeSubjects, { sink });
        }
        for (const place of fresh) await tx.run(this.#sql.putPlace, rowOfPlace(place));
      });
    }
    for (const sink of gone) places.delete(sink);
    for (const place of fresh) places.set(place.sink, place);
    return places;
  }

  /** Writes where a sink is, and what is remembered from now on. */
  async save(place: SinkPlace, states: readonly SubjectState[] = []): Promise<void> {
    await this.#store.write(systemCaller, async (tx) => {
      await tx.run(this.#sql.putPlace, rowOfPlace(place));
      if (states.length > 0) {
        const rows = JSON.stringify(states.map(rowOfState));
        await tx.run(this.#sql.putSubjects, { sink: place.sink, rows });
      }
    });
  }

  /** What is remembered of these things, by `stateKey`. */
  async known(
    sink: string,
    asked: { readonly rules: readonly string[]; readonly subjects: readonly string[] },
  ): Promise<Map<string, SubjectState>> {
    if (asked.subjects.length === 0) return new Map();
    const [rules, subjects] = [JSON.stringify(asked.rules), JSON.stringify(asked.subjects)];
    const rows = await this.#store.read((session) => session.all(this.#sql.known, { sink, rules, subjects }));
    return byKey(rows.map(stateOfRow));
  }

  /** What maintenance keeps silent. */
  async held(sink: string): Promise<readonly SubjectState[]> {
    return (await this.#store.read((session) => session.all(this.#sql.held, { sink, limit: rowsMax }))).map(
      stateOfRow,
    );
  }

  /** Alerts that fire. */
  async firing(sink: string): Promise<readonly SubjectState[]> {
    const rows = await this.#store.read((session) => session.all(this.#sql.firing, { sink, limit: rowsMax }));
    return rows.map(stateOfRow);
  }

  /** Forgets what is not needed any more. */
  async forget(): Promise<void> {
    await this.#store.write(systemCaller, (tx) => tx.run(this.#sql.forget, { nowMs: tx.now }));
  }
}

export function byKey(states: readonly SubjectState[]): Map<string, SubjectState> {
  return new Map(states.map((state) => [stateKey(state), state]));
}

function newPlace(sink: string, position: Position): SinkPlace {
  return {
    ...{ sink, position },
    sending: null,
    ...{ delivered: 0, failed: 0, dropped: 0, missed: 0 },
    lastSuccessMs: null,
    lastError: null,
  };
}

function placeOf(row: NotifyPlaceRow): SinkPlace {
  const { sink, epoch, revision, delivered, failed, dropped, missed } = row;
  return {
    sink,
    position: { epoch, revision },
    sending: row.sending === null ? null : (JSON.parse(row.sending) as Sending),
    ...{ delivered, failed, dropped, missed },
    lastSuccessMs: row.last_success_ms,
    lastError:
      row.last_error_ms === null || row.last_error === null
        ? null
        : { atMs: row.last_error_ms, detail: row.last_error },
  };
}

function rowOfPlace(place: SinkPlace): NotifyPlaceRow {
  const { sink, position, sending, delivered, failed, dropped, missed, lastSuccessMs, lastError } = place;
  return {
    sink,
    ...position,
    sending: sending === null ? null : JSON.stringify(sending),
    ...{ delivered, failed, dropped, missed },
    last_success_ms: lastSuccessMs,
    last_error_ms: lastError?.atMs ?? null,
    last_error: lastError?.detail ?? null,
  };
}
