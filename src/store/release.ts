/** Releases on SQL. */
import type { Clock } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import type { Caller } from '../domain/access.ts';
import { AppError } from '../domain/error.ts';
import type { VersionCondition } from '../domain/host-change.ts';
import {
  decidePublish,
  decideWithdraw,
  type LatestOrder,
  latestNotFound,
  latestVersion,
  type Release,
  type ReleaseContent,
  type ReleaseKey,
  releaseBytes,
  releaseEvent,
  releaseNotFound,
  requireReleaseKey,
  requireTrainKey,
  type TrainKey,
} from '../domain/release.ts';
import type { Page, PageRequest, ReleaseService } from '../domain/services.ts';
import type { Session, Store, Transaction } from './engine/port.ts';
import { decodeCursor, encodeCursor, foreignCursor } from './page.ts';
import { type ListPlace, releaseOf, releaseRow, releaseStatements } from './release-sql.ts';

/** Read at once: of the largest, 4 MiB. */
const stepMax = 64;
/** Before the first of a list. */
const listStart: ListPlace = { released: Number.MAX_SAFE_INTEGER, published: 0, version: '' };

export class ReleaseStore implements ReleaseService {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #sql: ReturnType<typeof releaseStatements>;

  constructor({ store, clock }: { store: Store; clock: Clock }) {
    this.#store = store;
    this.#clock = clock;
    this.#sql = releaseStatements(store.dialect);
  }

  async publish(
    caller: Caller,
    key: ReleaseKey,
    content: ReleaseContent,
    condition: VersionCondition,
  ): Promise<{ readonly created: boolean; readonly release: Release }> {
    requireReleaseKey(key);
    return this.#store.write(caller, async (tx) => {
      const before = await this.#find(tx, key);
      const given = { content, condition, subject: caller.subject, now: tx.now };
      const { release, change } = decidePublish(before, key, given);
      if (change === null) return { created: false, release };
      if (before === null) await this.#requireRoom(tx, key);
      await tx.run(this.#sql.put, releaseRow(release));
      tx.append(releaseEvent(change, release));
      return { created: before === null, release };
    });
  }

  async get(key: ReleaseKey): Promise<Release> {
    requireReleaseKey(key);
    const release = await this.#store.read((session) => this.#find(session, key));
    if (release === null) throw releaseNotFound(key);
    return release;
  }

  async list(key: TrainKey, page: PageRequest): Promise<Page<Release>> {
    requireTrainKey(key);
    const { epoch, revision } = this.#store.log.head();
    const start = page.cursor === undefined ? listStart : placeOf(page.cursor);
    const { items, next } = await this.#store.read((session) => this.#page(session, key, { start, page }));
    return { items, next, asOfMs: this.#clock.now(), position: { epoch, revision }, stale: false };
  }

  async latest(key: TrainKey, order: LatestOrder): Promise<Release> {
    requireTrainKey(key);
    const { component, train } = key;
    const release = await this.#store.read(async (session) => {
      if (order === 'date') {
        const [row] = await session.all(this.#sql.page, { component, train, ...listStart, limit: 1 });
        return row === undefined ? null : releaseOf(row);
      }
      const rows = await session.all(this.#sql.versions, {
        component,
        train,
        limit: limits.trainReleasesMax,
      });
      const version = latestVersion(
        order,
        rows.map((row) => row.version),
      );
      return version === undefined ? null : this.#find(session, { component, train, version });
    });
    if (release === null) throw latestNotFound(key);
    return release;
  }

  async latestOf(keys: readonly TrainKey[]): Promise<readonly (Release | null)[]> {
    for (const key of keys) requireTrainKey(key);
    const asked = new Map(
      keys.map(({ component, train }) => [placeKey({ component, train }), { component, train }]),
    );
    const found = await this.#store.read((session) => this.#latestOf(session, [...asked.values()]));
    return keys.map((key) => found.get(placeKey(key)) ?? null);
  }

  async withdraw(caller: Caller, key: ReleaseKey, condition: VersionCondition): Promise<void> {
    requireReleaseKey(key);
    return this.#store.write(caller, async (tx) => {
      const release = decideWithdraw(await this.#find(tx, key), key, condition);
      const { component, train, version } = key;
      await tx.run(this.#sql.remove, { component, train, version });
      tx.append(releaseEvent('release.withdrawn', release));
    });
  }

  async #find(session: Session, { component, train, version }: ReleaseKey): Promise<Release | null> {
    const row = await session.get(this.#sql.one, { component, train, version });
    return row === undefined ? null : releaseOf(row);
  }

  async #requireRoom(tx: Transaction, { component, train }: TrainKey): Promise<void> {
    const row = await tx.get(this.#sql.count, { component, train });
    if (Number(row?.count ?? 0) < limits.trainReleasesMax) return;
    throw new AppError(
      'unprocessable',
      `Cannot publish on train "${train}" of ${component}: it has ${limits.trainReleasesMax} releases, as many as one may have; withdraw old ones, or begin another train`,
      { field: 'train' },
    );
  }

  /** In steps, until there are enough, or they are large enough; at least one. */
  async #page(
    session: Session,
    { component, train }: TrainKey,
    { start, page }: { start: ListPlace; page: PageRequest },
  ): Promise<{ items: Release[]; next: string | null }> {
    const items: Release[] = [];
    let place = start;
    let bytes = 0;
    for (;;) {
      const limit = Math.min(stepMax, page.limit - items.length + 1);
      const rows = await session.all(this.#sql.page, { component, train, ...place, limit });
      for (const row of rows) {
        if (items.length === page.limit || bytes >= limits.pageBytes)
          return {
            items,
            next: encodeCursor([place.released, place.published].map(String).concat(place.version)),
          };
        const release = releaseOf(row);
        items.push(release);
        bytes += releaseBytes(release);
        place = { released: row.released_ms, published: row.published_at_ms, version: row.version };
      }
      if (rows.length < limit) return { items, next: null };
    }
  }

  async #latestOf(session: Session, asked: readonly TrainKey[]): Promise<Map<string, Release>> {
    const found = new Map<string, Release>();
    let bytes = 0;
    for (let from = 0; from < asked.length; from += stepMax) {
      const trains = JSON.stringify(asked.slice(from, from + stepMax));
      for (const row of await session.all(this.#sql.latestOf, { trains })) {
        const release = releaseOf(row);
        found.set(placeKey(release), release);
        bytes += releaseBytes(release);
      }
      if (bytes > limits.latestAnswerBytes) {
        throw new AppError(
          'too-large',
          `Cannot answer with the latest releases of ${asked.length} trains: they take more than ${limits.latestAnswerBytes} bytes; ask for fewer at once`,
          { field: 'items' },
        );
      }
    }
    return found;
  }
}

function placeKey({ component, train }: TrainKey): string {
  return `${component}\0${train}`;
}

function placeOf(cursor: string): ListPlace {
  const [released, published, version = ''] = decodeCursor(cursor, 3);
  const place = { released: Number(released), published: Number(published), version };
  if (Number.isSafeInteger(place.released) && Number.isSafeInteger(place.published)) return place;
  throw foreignCursor();
}
