/** Releases on SQL. */
import type { Clock } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import type { Caller } from '../domain/access.ts';
import { AppError } from '../domain/error.ts';
import type { VersionCondition } from '../domain/host-change.ts';
import { pastMs } from '../domain/moment.ts';
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
import type { AsOf, Page, PageRequest, ReleaseService } from '../domain/services.ts';
import { legsOf } from '../domain/train.ts';
import type { VersionOrder } from '../domain/version.ts';
import type { Session, Store, Transaction } from './engine/port.ts';
import { encodeCursorAt, foreignCursor, placeAt } from './page.ts';
import { releasePastStatements } from './release-past-sql.ts';
import { type ListPlace, type Place, releaseOf, releaseRow, releaseStatements } from './release-sql.ts';
import type { TrainStore } from './train.ts';

/** Read at once: of the largest, 4 MiB. */
const stepMax = 64;
/** Versions compared at once: of the longest, 10 ms. */
const comparedMax = 500;
/** Before the first of a list. */
const listStart: ListPlace = { released: Number.MAX_SAFE_INTEGER, published: 0, version: '' };

export class ReleaseStore implements ReleaseService {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #trains: Pick<TrainStore, 'following'>;
  readonly #sql: ReturnType<typeof releaseStatements>;
  readonly #past: ReturnType<typeof releasePastStatements>;

  constructor({
    store,
    clock,
    trains,
  }: { store: Store; clock: Clock; trains: Pick<TrainStore, 'following'> }) {
    this.#store = store;
    this.#clock = clock;
    this.#trains = trains;
    this.#sql = releaseStatements(store.dialect);
    this.#past = releasePastStatements(store.dialect);
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
      const { release: decided, change } = decidePublish(before, key, given);
      if (change === null) return { created: false, release: decided };
      const release = before === null ? await this.#anew(tx, decided) : decided;
      if (before === null) await this.#requireRoom(tx, key);
      else await this.#keep(tx, key, release.changedAtMs);
      await tx.run(this.#sql.put, releaseRow(release));
      tx.append(releaseEvent(change, release));
      return { created: before === null, release };
    });
  }

  async get(key: ReleaseKey, at: AsOf = {}): Promise<Release> {
    requireReleaseKey(key);
    const atMs = this.#momentOf(at);
    const release = await this.#store.read((session) => this.#find(session, key, atMs));
    if (release === null) throw releaseNotFound(key);
    return release;
  }

  async list(key: TrainKey, page: PageRequest, at: AsOf = {}): Promise<Page<Release>> {
    requireTrainKey(key);
    const { epoch, revision } = this.#store.log.head();
    const now = this.#clock.now();
    const { atMs, after } = placeAt(at, page, { parts: 3, now });
    const start = after === null ? listStart : placeOf(after);
    const { items, next } = await this.#store.read((session) =>
      this.#page(session, key, { start, page, atMs }),
    );
    return { items, next, asOfMs: atMs ?? now, position: { epoch, revision }, stale: false };
  }

  async latest(key: TrainKey, order: LatestOrder, at: AsOf = {}): Promise<Release> {
    requireTrainKey(key);
    const atMs = this.#momentOf(at);
    const release = await this.#store.read((session) =>
      order === 'date'
        ? this.#latestOf(session, [key], atMs).then((found) => found.get(trainId(key)) ?? null)
        : this.#latestByVersion(session, key, { order, atMs }),
    );
    if (release === null) throw latestNotFound(key);
    return release;
  }

  async latestOf(keys: readonly TrainKey[]): Promise<readonly (Release | null)[]> {
    for (const key of keys) requireTrainKey(key);
    const found = await this.#store.read((session) => this.#latestOf(session, keys, null));
    return keys.map((key) => found.get(trainId(key)) ?? null);
  }

  async withdraw(caller: Caller, key: ReleaseKey, condition: VersionCondition): Promise<void> {
    requireReleaseKey(key);
    return this.#store.write(caller, async (tx) => {
      const release = decideWithdraw(await this.#find(tx, key), key, condition);
      const { component, train, version } = key;
      await this.#keep(tx, key, tx.now);
      await tx.run(this.#sql.remove, { component, train, version });
      tx.append(releaseEvent('release.withdrawn', release));
    });
  }

  /** Null: now. */
  #momentOf({ asOf }: AsOf): number | null {
    return asOf === undefined ? null : pastMs(asOf, this.#clock.now());
  }

  /** It may have been there before: what was has an order, also where the clock was put back meanwhile. */
  async #anew(tx: Transaction, release: Release): Promise<Release> {
    const { component, train, version } = release;
    const last = await tx.get(this.#past.releaseEnd, { component, train, version });
    return { ...release, changedAtMs: Math.max(release.changedAtMs, Number(last?.to_ms ?? 0)) };
  }

  /** What it was, until it is another or gone. */
  async #keep(tx: Transaction, { component, train, version }: ReleaseKey, toMs: number): Promise<void> {
    await tx.run(this.#past.keepRelease, { component, train, version, toMs });
  }

  async #find(
    session: Session,
    { component, train, version }: ReleaseKey,
    atMs: number | null = null,
  ): Promise<Release | null> {
    const key = { component, train, version };
    const row =
      atMs === null
        ? await session.get(this.#sql.one, key)
        : await session.get(this.#past.one, { ...key, atMs });
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
    { start, page, atMs }: { start: ListPlace; page: PageRequest; atMs: number | null },
  ): Promise<{ items: Release[]; next: string | null }> {
    const items: Release[] = [];
    let place = start;
    let bytes = 0;
    for (;;) {
      const limit = Math.min(stepMax, page.limit - items.length + 1);
      const asked = { component, train, ...place, limit };
      const rows =
        atMs === null
          ? await session.all(this.#sql.page, asked)
          : await session.all(this.#past.page, { ...asked, atMs, before: Number.MAX_SAFE_INTEGER });
      for (const row of rows) {
        if (items.length === page.limit || bytes >= limits.pageBytes)
          return {
            items,
            next: encodeCursorAt(atMs, [String(place.released), String(place.published), place.version]),
          };
        const release = releaseOf(row);
        items.push(release);
        bytes += releaseBytes(release);
        place = { released: row.released_ms, published: row.published_at_ms, version: row.version };
      }
      if (rows.length < limit) return { items, next: null };
    }
  }

  /** The one that arrived last on each train; of the same instant, the one that was published on the nearest. */
  async #latestOf(
    session: Session,
    keys: readonly TrainKey[],
    atMs: number | null,
  ): Promise<Map<string, Release>> {
    const legs = await this.#legsOf(session, keys, atMs);
    const places = [...legs.values()].flat();
    const firsts =
      atMs === null ? await this.#firstOf(session, places) : await this.#firstAt(session, places, atMs);
    const found = new Map<string, Release>();
    for (const [id, places] of legs) {
      let arrivedMs = Number.NEGATIVE_INFINITY;
      for (const place of places) {
        const release = firsts.get(placeId(place));
        if (release === undefined || release.releasedMs + place.delayMs <= arrivedMs) continue;
        arrivedMs = release.releasedMs + place.delayMs;
        found.set(id, release);
      }
    }
    return found;
  }

  async #latestByVersion(
    session: Session,
    key: TrainKey,
    { order, atMs }: { order: VersionOrder; atMs: number | null },
  ): Promise<Release | null> {
    const legs = await this.#legsOf(session, [key], atMs);
    let latest: ReleaseKey | null = null;
    for (const { component, train, before } of [...legs.values()].flat()) {
      const limit = limits.trainReleasesMax;
      const asked = { component, train, before, limit };
      const rows =
        atMs === null
          ? await session.all(this.#sql.versions, asked)
          : await session.all(this.#past.versions, { ...asked, atMs });
      for (let from = 0; from < rows.length; from += comparedMax) {
        const best: string[] = latest === null ? [] : [latest.version];
        const some = rows.slice(from, from + comparedMax).map((row) => row.version);
        const version = latestVersion(order, [...best, ...some]);
        if (version !== undefined && version !== best[0]) latest = { component, train, version };
        // All of them may take a second, in which no host could beat.
        await new Promise<void>((resolve) => this.#clock.nextTurn(resolve));
      }
    }
    return latest === null ? null : this.#find(session, latest, atMs);
  }

  /** What arrives on each of these trains, by `trainId`. */
  async #legsOf(
    session: Session,
    keys: readonly TrainKey[],
    atMs: number | null,
  ): Promise<Map<string, ArrivalPlace[]>> {
    const components = [...new Set(keys.map(({ component }) => component))];
    const following = Map.groupBy(
      await this.#trains.following(session, components, atMs),
      ({ component }) => component,
    );
    const now = atMs ?? this.#clock.now();
    return new Map(
      keys.map(({ component, train }) => {
        const legs = legsOf(following.get(component) ?? [], train);
        const places = legs.map((leg, index) => ({
          component,
          ...leg,
          // Its own are on it as they are published, whatever date they say.
          before: index === 0 ? Number.MAX_SAFE_INTEGER : now - leg.delayMs + 1,
        }));
        return [trainId({ component, train }), places];
      }),
    );
  }

  async #firstAt(session: Session, places: readonly Place[], atMs: number): Promise<Map<string, Release>> {
    const found = new Map<string, Release>();
    for (const place of places) {
      const { component, train, before } = place;
      const asked = { component, train, before, atMs, ...listStart, limit: 1 };
      const row = await session.get(this.#past.page, asked);
      if (row !== undefined) found.set(placeId(place), releaseOf(row));
    }
    return found;
  }

  async #firstOf(session: Session, places: readonly Place[]): Promise<Map<string, Release>> {
    const asked = [
      ...new Map(
        places.map(({ component, train, before }) => {
          const place = { component, train, before };
          return [placeId(place), place] as const;
        }),
      ).values(),
    ];
    const found = new Map<string, Release>();
    let bytes = 0;
    for (let from = 0; from < asked.length; from += stepMax) {
      const step = JSON.stringify(asked.slice(from, from + stepMax));
      for (const row of await session.all(this.#sql.firstOf, { places: step })) {
        const release = releaseOf(row);
        found.set(placeId(row), release);
        bytes += releaseBytes(release);
      }
      if (bytes > limits.latestAnswerBytes) {
        throw new AppError(
          'too-large',
          `Cannot answer with the latest releases of so many trains: they take more than ${limits.latestAnswerBytes} bytes; ask for fewer at once`,
          { field: 'items' },
        );
      }
    }
    return found;
  }
}

/** Where releases arrive from, and how late. */
type ArrivalPlace = Place & { readonly delayMs: number };

function trainId({ component, train }: TrainKey): string {
  return `${component}\0${train}`;
}

function placeId({ component, train, before }: Place): string {
  return `${component}\0${train}\0${before}`;
}

function placeOf([released, published, version = '']: readonly string[]): ListPlace {
  const place = { released: Number(released), published: Number(published), version };
  if (Number.isSafeInteger(place.released) && Number.isSafeInteger(place.published)) return place;
  throw foreignCursor();
}
