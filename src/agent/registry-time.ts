/**
 * The registry's clock as its answers tell it, carried on by the monotonic clock. What ends or begins by the registry's
 * word (credentials, targets) is measured with it: this machine's own clock may be years off.
 */
import type { Clock } from '../base/clock.ts';

export class RegistryTime {
  readonly #clock: Clock;
  #told: { readonly registryMs: number; readonly monotonicMs: number } | null = null;
  #skewMs: number | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** An answer came, to what was asked `tookMs` ago; it was written somewhere in between. */
  note(registryMs: number, tookMs: number): void {
    this.#told = { registryMs: registryMs + tookMs / 2, monotonicMs: this.#clock.monotonic() };
    this.#skewMs = Math.round(this.#clock.now() - this.#told.registryMs);
  }

  /** Null before the first answer. */
  now(): number | null {
    const told = this.#told;
    return told === null ? null : told.registryMs + this.#clock.monotonic() - told.monotonicMs;
  }

  /** How far this machine's clock was ahead of the registry's at the last answer; null before the first. */
  get skewMs(): number | null {
    return this.#skewMs;
  }
}
