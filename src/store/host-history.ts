/** What became of hosts, and how many there were when: from how they were (hosts-as-of.ts), and counted on disk. */
import type { Clock } from '../base/clock.ts';
import { ageSelection } from '../domain/age.ts';
import type { HostRecord } from '../domain/host.ts';
import {
  type HostCounts,
  type HostPoint,
  type HostStats,
  type HostTurn,
  hostTurn,
  seriesSteps,
} from '../domain/host-history.ts';
import { pastRange } from '../domain/moment.ts';
import { hostSelection } from '../domain/scope.ts';
import type {
  HostChangeFilter,
  HostHistoryService,
  HostStatsQuery,
  Page,
  PageRequest,
  Stretch,
} from '../domain/services.ts';
import type { Store } from './engine/port.ts';
import type { HostMemory } from './host-memory.ts';
import { hostPastStatements } from './host-past-sql.ts';
import type { HostsAsOf, HostThen } from './hosts-as-of.ts';
import { decodeCursor, encodeCursor, foreignCursor } from './page.ts';

const withinDefaultMs = 7 * 86_400_000;
const untilNow = { kind: 'ago', agoMs: 0 } as const;

export interface HostHistoryOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly memory: HostMemory;
  readonly past: HostsAsOf;
}

export class HostHistoryStore implements HostHistoryService {
  readonly #options: HostHistoryOptions;
  readonly #sql: ReturnType<typeof hostPastStatements>;

  constructor(options: HostHistoryOptions) {
    this.#options = options;
    this.#sql = hostPastStatements(options.store.dialect);
  }

  /** A later page goes on in the stretch of the first: relative moments have moved meanwhile. */
  async differences(filter: HostChangeFilter, page: PageRequest): Promise<Page<HostTurn>> {
    const { clock, past } = this.#options;
    const now = clock.now();
    const [from, to, name = '', id = ''] = page.cursor === undefined ? [] : decodeCursor(page.cursor, 4);
    const stretch =
      from === undefined || to === undefined
        ? { from: filter.from, to: filter.to ?? untilNow }
        : { from: instantOf(from), to: instantOf(to) };
    const { fromMs, toMs } = pastRange(stretch, now);
    const selects = hostSelection(filter);
    const isMeant = ({ record }: HostThen) => selects === null || selects(record.name, record);
    const before = (await past.at(fromMs, now)).hosts.filter(isMeant);
    const after = (await past.at(toMs, now)).hosts.filter(isMeant);
    const turns = turnsOf(before, after, { name, id, count: page.limit + 1 });
    const items = turns.slice(0, page.limit);
    const last = items.at(-1);
    return {
      items,
      next:
        turns.length > page.limit && last !== undefined
          ? encodeCursor([String(fromMs), String(toMs), last.name, last.id])
          : null,
      asOfMs: toMs,
      position: null,
      stale: false,
    };
  }

  async stats({ withinMs = withinDefaultMs, stretch, stepMs }: HostStatsQuery): Promise<HostStats> {
    const now = this.#options.clock.now();
    const series = stretch === undefined ? [] : await this.#series(stretch, stepMs, now);
    return { asOfMs: now, now: this.#counts(withinMs, now), series };
  }

  #counts(withinMs: number, now: number): HostCounts {
    const { memory } = this.#options;
    const is = (key: 'freshMs' | 'staleMs' | 'createdMs') =>
      ageSelection({ [key]: withinMs }, now) ?? (() => true);
    const [isFresh, isStale, isCreated] = [is('freshMs'), is('staleMs'), is('createdMs')];
    const counts = { total: 0, up: 0, down: 0, withinMs, fresh: 0, stale: 0, created: 0 };
    for (const slot of memory.presence.slots()) {
      const record = memory.presence.record(slot);
      const seen = memory.seen(record);
      counts.total += 1;
      counts[record.status === 'UP' ? 'up' : 'down'] += 1;
      if (isFresh(seen)) counts.fresh += 1;
      if (isStale(seen)) counts.stale += 1;
      if (isCreated(seen)) counts.created += 1;
    }
    return counts;
  }

  /** Each state that a host was in counts from the first point within it, and no more from the first one after it. */
  async #series(stretch: Stretch, wishedMs: number | undefined, now: number): Promise<HostPoint[]> {
    const { fromMs, toMs } = pastRange({ from: stretch.from, to: stretch.to ?? untilNow }, now);
    const { stepMs, count } = seriesSteps({ fromMs, toMs }, wishedMs);
    const rows = await this.#options.store.read((session) =>
      session.all(this.#sql.seriesSteps, { fromMs, stepMs }),
    );
    const zeros = () => new Float64Array(count);
    const sums = { up: zeros(), down: zeros(), appeared: zeros(), disappeared: zeros() };
    for (const { what, point, n } of rows) {
      const at = Number(point);
      if (at < count) sums[what][at] = (sums[what][at] ?? 0) + Number(n);
    }
    let [up, down] = [0, 0];
    return Array.from({ length: count }, (_, at) => {
      up += sums.up[at] ?? 0;
      down += sums.down[at] ?? 0;
      const [appeared = 0, disappeared = 0] = [sums.appeared[at], sums.disappeared[at]];
      return { atMs: fromMs + at * stepMs, total: up + down, up, down, appeared, disappeared };
    });
  }
}

/** The first `count` behind a place; states are compared no further than that. */
function turnsOf(
  before: readonly HostThen[],
  after: readonly HostThen[],
  { name, id, count }: { name: string; id: string; count: number },
): HostTurn[] {
  const old = new Map(before.map((host) => [host.no, host.record]));
  const both = after.map(({ no, record }): [HostRecord | null, HostRecord | null] => {
    const was = old.get(no) ?? null;
    old.delete(no);
    return [was, record];
  });
  for (const record of old.values()) both.push([record, null]);
  const called = ([was, is]: (typeof both)[number]) => (is ?? was)?.name ?? '';
  const idOf = ([was, is]: (typeof both)[number]) => (is ?? was)?.id ?? '';
  // Both lists are ordered by name: what is left to sort is one list behind another.
  both.sort((a, b) => compare(called(a), called(b)) || compare(idOf(a), idOf(b)));
  const turns: HostTurn[] = [];
  for (const pair of both) {
    if ((compare(called(pair), name) || compare(idOf(pair), id)) <= 0) continue;
    const [was, is] = pair;
    const turn = was === is ? null : hostTurn(was, is);
    if (turn !== null) turns.push(turn);
    if (turns.length === count) break;
  }
  return turns;
}

function compare(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1;
}

function instantOf(text: string): { readonly kind: 'at'; readonly atMs: number } {
  const atMs = Number(text);
  if (!/^\d{1,16}$/.test(text) || atMs > 8.64e15) throw foreignCursor();
  return { kind: 'at', atMs };
}
