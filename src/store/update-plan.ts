/**
 * What a question about updates goes by: the hosts that are meant, by the train that they follow, and what has arrived
 * on each train.
 */
import type { Labels } from '../domain/labels.ts';
import type { HostSelection } from '../domain/services.ts';
import { type Following, legsOf } from '../domain/train.ts';
import { type Arrivals, arrivalsOf, followedTrain, type Published } from '../domain/update.ts';
import type { PublishedRow } from './release-past-sql.ts';

/** A host that is meant. */
export interface UpdateHost {
  readonly id: string;
  readonly name: string;
  readonly labels: Labels;
}

/** All hosts, as they are or as they were. */
export interface UpdateHosts {
  /** Finds a host by id or name; `not-found`. */
  readonly hostNo: (idOrName: string) => number | Promise<number>;
  /** The numbers of those that are meant; null: all. */
  readonly hostNos: (filter: HostSelection) => number[] | null | Promise<number[] | null>;
  /** All numbers there are. */
  readonly allNos: () => number[];
  readonly numbered: (no: number) => UpdateHost | undefined;
}

/** The hosts that are meant, by the train that each follows for a component. */
export class Followers {
  readonly #byTrain: ReadonlyMap<string, readonly number[]>;
  /** Of the components that a label `train/<component>` names: the hosts that have one. */
  readonly #named: ReadonlyMap<string, readonly number[]>;
  /** By number, of what no label names: looked up for each row that is read, where labels would be 2 µs. */
  readonly #trainByNo: ReadonlyMap<number, string>;
  readonly #labelsOf: (no: number) => Labels;

  constructor(hosts: readonly number[], labelsOf: (no: number) => Labels) {
    const byTrain = new Map<string, number[]>();
    const named = new Map<string, number[]>();
    const trainByNo = new Map<number, string>();
    for (const no of hosts) {
      const labels = labelsOf(no);
      const train = followedTrain(labels, '');
      trainByNo.set(no, train);
      addTo(byTrain, train, no);
      for (const key in labels) if (key.startsWith('train/')) addTo(named, key.slice('train/'.length), no);
    }
    this.#byTrain = byTrain;
    this.#named = named;
    this.#trainByNo = trainByNo;
    this.#labelsOf = labelsOf;
  }

  trainOf(no: number, component: string): string {
    const train = this.#named.has(component) ? undefined : this.#trainByNo.get(no);
    return train ?? followedTrain(this.#labelsOf(no), component);
  }

  /** The trains that somebody follows for a component. */
  trains(component: string): ReadonlySet<string> {
    const own = this.#named.get(component) ?? [];
    return new Set([...this.#byTrain.keys(), ...own.map((no) => this.trainOf(no, component))]);
  }

  /** Those that follow one of `trains` for a component, and at most some that once did: whoever gets them looks. */
  of(component: string, trains: ReadonlySet<string>): readonly number[] {
    const own = this.#named.get(component) ?? [];
    const found = [...trains].flatMap((train) => this.#byTrain.get(train) ?? []);
    return own.length === 0 ? found : [...new Set([...found, ...own])];
  }
}

/** What is published, by component, and which trains follow others. */
export class Knowledge {
  readonly #releases: ReadonlyMap<string, readonly Published[]>;
  readonly #following: ReadonlyMap<string, readonly Following[]>;
  readonly #now: number;

  constructor(rows: readonly PublishedRow[], following: readonly Following[], now: number) {
    const releases = new Map<string, Published[]>();
    for (const row of rows) {
      const { train, version, released_ms: releasedMs, published_at_ms: publishedAtMs } = row;
      addTo(releases, row.component, { train, version, releasedMs, publishedAtMs });
    }
    this.#releases = releases;
    this.#following = Map.groupBy(following, ({ component }) => component);
    this.#now = now;
  }

  /** Null: nothing has arrived. */
  arrivals(component: string, train: string): Arrivals | null {
    const releases = this.#releases.get(component);
    if (releases === undefined) return null;
    const arrivals = arrivalsOf(legsOf(this.#following.get(component) ?? [], train), releases, this.#now);
    return arrivals.arrived.length === 0 ? null : arrivals;
  }
}

function addTo<Key, Value>(lists: Map<Key, Value[]>, key: Key, value: Value): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [value]);
  else list.push(value);
}
