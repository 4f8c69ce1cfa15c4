/** Trains on SQL. */
import type { Clock } from '../base/clock.ts';
import type { Caller } from '../domain/access.ts';
import type { StrictCondition } from '../domain/condition.ts';
import { requirePrintable } from '../domain/ids.ts';
import { pastMs } from '../domain/moment.ts';
import { requireTrainKey, type TrainKey } from '../domain/release.ts';
import type { AsOf, Page, PageRequest, TrainService } from '../domain/services.ts';
import {
  decideFollow,
  decideUnfollow,
  type Following,
  type FollowPlan,
  followEvent,
  type TrainView,
  trainNotFound,
} from '../domain/train.ts';
import type { Session, Store } from './engine/port.ts';
import { encodeCursorAt, placeAt } from './page.ts';
import { releasePastStatements } from './release-past-sql.ts';
import { followingOf, listedTrain, trainRow, trainStatements } from './train-sql.ts';

export class TrainStore implements TrainService {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #sql: ReturnType<typeof trainStatements>;
  readonly #past: ReturnType<typeof releasePastStatements>;

  constructor({ store, clock }: { store: Store; clock: Clock }) {
    this.#store = store;
    this.#clock = clock;
    this.#sql = trainStatements(store.dialect);
    this.#past = releasePastStatements(store.dialect);
  }

  async follow(
    caller: Caller,
    key: TrainKey,
    plan: FollowPlan,
    condition: StrictCondition,
  ): Promise<{ readonly created: boolean; readonly train: TrainView }> {
    requireTrainKey(key);
    return this.#store.write(caller, async (tx) => {
      const known = await this.following(tx, [key.component]);
      const { component, train } = key;
      const { following: decided, change } = decideFollow(known, key, { plan, condition, now: tx.now });
      if (change === null) return { created: false, train: decided };
      // It may have followed before: what was has an order, also where the clock was put back meanwhile.
      const last = await tx.get(this.#past.trainEnd, { component, train });
      const changedAtMs = Math.max(decided.changedAtMs, Number(last?.to_ms ?? 0));
      const following = { ...decided, changedAtMs };
      await tx.run(this.#past.keepTrain, { component, train, toMs: following.changedAtMs });
      await tx.run(this.#sql.put, trainRow(following));
      tx.append(followEvent(change, following));
      return { created: !known.some(({ train }) => train === key.train), train: following };
    });
  }

  async get(key: TrainKey, { asOf }: AsOf = {}): Promise<TrainView> {
    requireTrainKey(key);
    const { component, train } = key;
    const atMs = asOf === undefined ? null : pastMs(asOf, this.#clock.now());
    return this.#store.read(async (session) => {
      const known = await this.following(session, [component], atMs);
      const following = known.find((one) => one.train === train);
      if (following !== undefined) return following;
      const one = { component, train, before: Number.MAX_SAFE_INTEGER, limit: 1 };
      const release =
        atMs === null
          ? await session.get(this.#sql.hasReleases, { component, train })
          : await session.get(this.#past.versions, { ...one, atMs });
      if (release === undefined) throw trainNotFound(key);
      return { component, train, follows: null, delayMs: 0, changedAtMs: null };
    });
  }

  async list(component: string, page: PageRequest, at: AsOf = {}): Promise<Page<TrainView>> {
    requirePrintable(component, 'component');
    const { epoch, revision } = this.#store.log.head();
    const now = this.#clock.now();
    const { atMs, after: key } = placeAt(at, page, { parts: 1, now });
    const asked = { component, after: key?.[0] ?? '', limit: page.limit + 1 };
    const rows = await this.#store.read(async (session) =>
      atMs === null
        ? (await session.all(this.#sql.page, asked)).map((row) => listedTrain(component, row))
        : this.#pageAt(session, asked, atMs),
    );
    const items = rows.slice(0, page.limit);
    const last = items.at(-1);
    return {
      items,
      next: rows.length > page.limit && last !== undefined ? encodeCursorAt(atMs, [last.train]) : null,
      asOfMs: atMs ?? now,
      position: { epoch, revision },
      stale: false,
    };
  }

  async unfollow(caller: Caller, key: TrainKey, condition: StrictCondition): Promise<void> {
    requireTrainKey(key);
    return this.#store.write(caller, async (tx) => {
      const following = decideUnfollow(await this.following(tx, [key.component]), key, condition);
      const { component, train } = key;
      await tx.run(this.#past.keepTrain, { component, train, toMs: tx.now });
      await tx.run(this.#sql.remove, { component, train });
      tx.append(followEvent('release.unfollowed', following));
    });
  }

  /** All that follow others, of these components; as of a moment, null for now. */
  async following(
    session: Session,
    components: readonly string[],
    atMs: number | null = null,
  ): Promise<Following[]> {
    const asked = { components: JSON.stringify(components) };
    const rows =
      atMs === null
        ? await session.all(this.#sql.following, asked)
        : await session.all(this.#past.following, { ...asked, atMs });
    return rows.map(followingOf);
  }

  async #pageAt(
    session: Session,
    asked: { component: string; after: string; limit: number },
    atMs: number,
  ): Promise<TrainView[]> {
    const { component, after, limit } = asked;
    const published = await session.all(this.#past.trains, { ...asked, atMs });
    const following = await this.following(session, [component], atMs);
    const views = new Map<string, TrainView>(
      published.map(({ train }) => [
        train,
        { component, train, follows: null, delayMs: 0, changedAtMs: null },
      ]),
    );
    for (const one of following) if (one.train > after) views.set(one.train, one);
    return [...views.values()].sort((a, b) => (a.train < b.train ? -1 : 1)).slice(0, limit);
  }
}
