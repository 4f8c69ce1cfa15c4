/** What finds installed components. A detector knows one source; `detection.ts` decides when it looks and what follows. */
import type { Component } from '../../domain/inventory.ts';

export interface Detector {
  /** The `detector` of every component that it finds; unique among the detectors of an agent. */
  readonly name: string;
  /** How long after a look the next one is due. */
  readonly everyMs: number;
  /** A look that takes longer has failed; default a minute. The first check-in waits for it. */
  readonly lookMs?: number;
  /**
   * Everything that is installed now, by this source. The very array of the look before means that nothing changed:
   * whoever calls need not compare. `null` means that this host has no such source, which is no error.
   * Throws when the source is there and cannot be read; rejects with the signal's reason when aborted.
   */
  detect(options: { signal: AbortSignal }): Promise<readonly Component[] | null>;
}
