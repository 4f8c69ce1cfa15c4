/** Hosts by their numbers: what tables with many rows call them. */
import type { TokenScope } from '../domain/access.ts';
import type { HostSelection } from '../domain/services.ts';

/** What was after `fromMs`, until `toMs`. */
export interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

/** Hosts by their numbers, as `HostStore` knows them. */
export interface HostNumbers {
  /** By id or by name; `not-found`, also outside of the scope. */
  numberOf(idOrName: string, scope?: TokenScope): number;
  /** By id, or by the name that it had at a moment; `not-found`, also of what lay outside of the scope then. */
  numberAsOf(idOrName: string, atMs: number, scope?: TokenScope): Promise<number>;
  /** Those that were there at a moment, and outside of the scope. */
  numbersOutside(scope: TokenScope, atMs: number): Promise<ReadonlySet<number>>;
  /** Since when a host was in the scope until the end of a stretch, or its own; null: not at the end. */
  coveredSince(no: number, scope: TokenScope, stretch: Span): Promise<number | null>;
  /** Those that are meant; null: all. */
  numbersOf(filter: HostSelection): readonly number[] | null;
  /** Those that were meant at a moment, as they were then; null: all. */
  numbersAsOf(filter: HostSelection, atMs: number): Promise<readonly number[] | null>;
}

/** `HostStore`, as far as it matters here. */
interface NumberedHosts extends Omit<HostNumbers, 'numbersOutside' | 'coveredSince'> {
  readonly lists: Pick<HostNumbers, 'numbersOutside' | 'coveredSince'>;
}

/** Of hosts that are wired later: their store is made with the inventory that asks for their numbers. */
export function hostNumbersOf(hosts: () => NumberedHosts): HostNumbers {
  return {
    numberOf: (host, scope) => hosts().numberOf(host, scope),
    numberAsOf: (host, atMs, scope) => hosts().numberAsOf(host, atMs, scope),
    numbersOutside: (scope, atMs) => hosts().lists.numbersOutside(scope, atMs),
    coveredSince: (no, scope, stretch) => hosts().lists.coveredSince(no, scope, stretch),
    numbersOf: (filter) => hosts().numbersOf(filter),
    numbersAsOf: (filter, atMs) => hosts().numbersAsOf(filter, atMs),
  };
}
