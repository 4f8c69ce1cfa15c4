/** Rules of installed components: what a host reports, and how two sides know that they mean the same set. */
import { hash } from 'node:crypto';
import type { EventDraft } from './event.ts';

/** One installed component as a detector found it. (detector, name) is unique on a host. */
export interface Component {
  readonly name: string;
  readonly version: string;
  readonly detector: string;
  readonly architecture?: string;
}

/** A component with its times at the place that answers. */
export interface ComponentView extends Component {
  readonly firstSeenMs: number;
  readonly changedAtMs: number;
}

/** Complete when `base` is null, otherwise what differs from the set with hash `base`. */
export interface CheckIn {
  readonly base: string | null;
  /** The hash of the whole set after this check-in. */
  readonly hash: string;
  /** Everything (complete), or what is new or changed (delta). */
  readonly components: readonly Component[];
  /** Empty when complete. */
  readonly removed: readonly { readonly detector: string; readonly name: string }[];
}

/** `accepted: false` asks for the complete set: the base is not what the registry has, or the sum does not match. */
export interface CheckInAnswer {
  readonly accepted: boolean;
  /** The hash of what the registry has now; null when nothing. */
  readonly hash: string | null;
}

export interface ComponentChange {
  readonly kind: 'installed' | 'changed' | 'removed';
  readonly before: Component | null;
  readonly after: Component | null;
}

/** What a component was or is, beside its name. */
export interface ComponentState {
  readonly version: string;
  readonly architecture?: string;
}

/** A change of a component on a host: `before` is null when it was not there, `after` when it is not any more. */
export interface ComponentTurn {
  readonly kind: ComponentChange['kind'];
  readonly name: string;
  readonly detector: string;
  readonly before: ComponentState | null;
  readonly after: ComponentState | null;
}

/** One that happened then. */
export interface ComponentStep extends ComponentTurn {
  readonly atMs: number;
}

/** What became of a component between two moments, on one host. */
export interface ComponentDifference extends ComponentTurn {
  readonly hostId: string;
  /** As it is called now, or was when it was removed. */
  readonly host: string;
}

export function componentKey(component: { detector: string; name: string }): string {
  return `${component.detector}\0${component.name}`;
}

/** What turns `before` into `after`, ordered by detector and name. */
export function diffComponents(before: Iterable<Component>, after: Iterable<Component>): ComponentChange[] {
  const old = new Map([...before].map((component) => [componentKey(component), component]));
  const changes: { key: string; change: ComponentChange }[] = [];
  for (const component of after) {
    const key = componentKey(component);
    const previous = old.get(key);
    old.delete(key);
    if (previous === undefined)
      changes.push({ key, change: { kind: 'installed', before: null, after: component } });
    else if (!sameComponent(previous, component))
      changes.push({ key, change: { kind: 'changed', before: previous, after: component } });
  }
  for (const [key, component] of old)
    changes.push({ key, change: { kind: 'removed', before: component, after: null } });
  return changes.sort((a, b) => (a.key < b.key ? -1 : 1)).map(({ change }) => change);
}

/** The event of one change; its body is the component after it, with the version before it. */
export function componentEvent(host: string, { kind, before, after }: ComponentChange): EventDraft {
  const component = after ?? before;
  return {
    type: `component.${kind}`,
    host,
    body: {
      ...component,
      host,
      ...(kind === 'changed' && before !== null ? { previousVersion: before.version } : {}),
    },
  };
}

function sameComponent(a: Component, b: Component): boolean {
  return a.version === b.version && a.architecture === b.architecture;
}

/**
 * The hash of a set of components, in any order: the sum of their SHA-256 digests modulo 2^256 (the additive multiset
 * hash of Bellare and Micciancio, 1997). A delta costs its own size, not the size of the set. It finds mistakes, not
 * attacks: a host speaks only for itself.
 */
export function inventoryHash(components: Iterable<Component>): string {
  let sum = 0n;
  for (const component of components) sum += digest(component);
  return formatHash(sum);
}

/** The hash after `changes` to the set with hash `base`. */
export function inventoryHashAfter(base: string, changes: Iterable<ComponentChange>): string {
  let sum = parseHash(base);
  for (const { before, after } of changes) {
    if (before !== null) sum -= digest(before);
    if (after !== null) sum += digest(after);
  }
  return formatHash(sum);
}

function digest(component: Component): bigint {
  const line = [component.detector, component.name, component.version, component.architecture ?? ''].join(
    '\0',
  );
  return BigInt(`0x${hash('sha256', line)}`);
}

function parseHash(text: string): bigint {
  return BigInt(`0x${text.slice('sha256:'.length)}`);
}

function formatHash(sum: bigint): string {
  return `sha256:${BigInt.asUintN(256, sum).toString(16).padStart(64, '0')}`;
}
