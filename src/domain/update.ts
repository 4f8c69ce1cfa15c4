/**
 * What is out of date: what is installed on a host, against the latest of the train that the host follows for it. A
 * component of which nothing has arrived on that train is unknown, which is no fault: most of what is installed was
 * never published here.
 */
import type { Labels } from './labels.ts';
import type { Leg } from './train.ts';
import { compareVersions, type VersionOrder, versionOrderOf } from './version.ts';

/** What makes a release the latest of its train: its version, in the order of whoever found it, or its date. */
export const updateOrders = ['version', 'date'] as const;
export type UpdateOrder = (typeof updateOrders)[number];

/** Of a host that no label says anything of. */
export const defaultTrain = 'stable';

/** The train that a host follows for a component: its label `train/<component>`, else its label `train`. */
export function followedTrain(labels: Labels, component: string): string {
  return labels[`train/${component}`] ?? labels['train'] ?? defaultTrain;
}

/** A release, as far as updates depend on it. */
export interface Published {
  readonly version: string;
  /** That it was published on. */
  readonly train: string;
  readonly releasedMs: number;
  readonly publishedAtMs: number;
}

/** What is published for a train by itself and by those that it follows. */
export interface Arrivals {
  /** The nearest train first, of each train the latest by date first. */
  readonly arrived: readonly (Published & { readonly arrivedMs: number })[];
  /** Published on a train that is followed, and not out for long enough. */
  readonly awaited: readonly Published[];
}

/** `releases` are of one component, on any trains, in any order. */
export function arrivalsOf(legs: readonly Leg[], releases: readonly Published[], now: number): Arrivals {
  const byTrain = Map.groupBy(releases, ({ train }) => train);
  const arrived: Arrivals['arrived'][number][] = [];
  const awaited: Published[] = [];
  for (const [index, { train, delayMs }] of legs.entries()) {
    for (const release of [...(byTrain.get(train) ?? [])].sort(latestFirst)) {
      const arrivedMs = release.releasedMs + delayMs;
      // Its own are on it as they are published, whatever date they say.
      if (index === 0 || arrivedMs <= now) arrived.push({ ...release, arrivedMs });
      else awaited.push(release);
    }
  }
  return { arrived, awaited };
}

/** What to have of a component, and which of the installed versions are not it. */
export interface UpdateDecision {
  readonly latest: Published;
  readonly outOfDate: ReadonlySet<string>;
}

/**
 * Null: nothing has arrived, so nothing is known. By version: what is before the greatest one. By date: what is neither
 * the one that arrived last nor still awaited.
 */
export function decideUpdates(
  { arrived, awaited }: Arrivals,
  options: {
    readonly detector: string;
    readonly order: UpdateOrder;
    readonly installed: Iterable<string>;
  },
): UpdateDecision | null {
  const order = versionOrderOf(options.detector);
  const isLater =
    options.order === 'date'
      ? (one: Arrivals['arrived'][number], than: Arrivals['arrived'][number]) =>
          one.arrivedMs > than.arrivedMs
      : (one: Published, than: Published) => compareVersions(order, one.version, than.version) > 0;
  const [first, ...others] = arrived;
  if (first === undefined) return null;
  const latest = others.reduce((best, one) => (isLater(one, best) ? one : best), first);
  const outOfDate = new Set<string>();
  for (const version of options.installed)
    if (isBehind(version, { latest, awaited, order, by: options.order })) outOfDate.add(version);
  return { latest, outOfDate };
}

function isBehind(
  version: string,
  known: {
    readonly latest: Published;
    readonly awaited: readonly Published[];
    readonly order: VersionOrder;
    readonly by: UpdateOrder;
  },
): boolean {
  const { latest, awaited, order, by } = known;
  const difference = compareVersions(order, version, latest.version);
  if (by === 'version') return difference < 0;
  return difference !== 0 && !awaited.some((one) => compareVersions(order, version, one.version) === 0);
}

/** The order of lists of releases. */
function latestFirst(a: Published, b: Published): number {
  return (
    b.releasedMs - a.releasedMs ||
    b.publishedAtMs - a.publishedAtMs ||
    (a.version < b.version ? 1 : a.version > b.version ? -1 : 0)
  );
}
