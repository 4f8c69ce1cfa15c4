/** Trains on SQL. */
import type { Clock } from '../base/clock.ts';
import type { Caller } from '../domain/access.ts';
import type { StrictCondition } from '../domain/condition.ts';
import { requirePrintable } from '../domain/ids.ts';
import { requireTrainKey, type TrainKey } from '../domain/release.ts';
import type { Page, PageRequest, TrainService } from '../domain/services.ts';
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
import { decodeCursor, encodeCursor } from './page.ts';
import { followingOf, listedTrain, trainRow, trainStatements } from './train-sql.ts';

export class TrainStore implements TrainService {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #sql: ReturnType<typeof trainStatements>;

  constructor({ store, clock }: { store: Store; clock: Clock }) {
    this.#store = store;
    this.#clock = clock;
    this.#sql = trainStatements(store.dialect);
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
      const { following, change } = decideFollow(known, key, { plan, condition, now: tx.now });
      if (change === null) return { created: false, train: following };
      await tx.run(this.#sql.put, trainRow(following));
      tx.append(followEvent(change, following));
      return { created: !known.some(({ train }) => train === key.train), train: following };
    });
  }

  async get(key: TrainKey): Promise<TrainView> {
    requireTrainKey(key);
    const { component, train } = key;
    return this.#store.read(async (session) => {
      const known = await this.following(session, [component]);
      const following = known.find((one) => one.train === train);
      if (following !== undefined) return following;
      if ((await session.get(this.#sql.hasReleases, { component, train })) === undefined)
        throw trainNotFound(key);
      return { component, train, follows: null, delayMs: 0, changedAtMs: null };
    });
  }

  async list(component: string, page: PageRequest): Promise<Page<TrainView>> {
    requirePrintable(component, 'component');
    const { epoch, revision } = this.#store.log.head();
    const after = page.cursor === undefined ? '' : (decodeCursor(page.cursor, 1)[0] ?? '');
    const rows = await this.#store.read((session) =>
      session.all(this.#sql.page, { component, after, limit: page.limit + 1 }),
    );
    const items = rows.slice(0, page.limit).map((row) => listedTrain(component, row));
    const last = items.at(-1);
    return {
      items,
      next: rows.length > page.limit && last !== undefined ? encodeCursor([last.train]) : null,
      asOfMs: this.#clock.now(),
      position: { epoch, revision },
      stale: false,
    };
  }

  async unfollow(caller: Caller, key: TrainKey, condition: StrictCondition): Promise<void> {
    requireTrainKey(key);
    return this.#store.write(caller, async (tx) => {
      const following = decideUnfollow(await this.following(tx, [key.component]), key, condition);
      await tx.run(this.#sql.remove, { component: key.component, train: key.train });
      tx.append(followEvent('release.unfollowed', following));
    });
  }

  /** All that follow others, of these components. */
  async following(session: Session, components: readonly string[]): Promise<Following[]> {
    const rows = await session.all(this.#sql.following, { components: JSON.stringify(components) });
    return rows.map(followingOf);
  }
}
