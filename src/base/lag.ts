/** How long this process stood still: paused, swapped out, blocked by its disk, or on a machine that slept. */
import type { Cancel, Clock } from './clock.ts';

/** Lateness below this is a busy moment, not a standstill. */
const lagMinMs = 1_000;
const tickMs = 250;

/**
 * A timer that does nothing but come round, so that what makes it late is the process and not the work of whoever
 * asks. Standstills add up until `take`.
 */
export class LagMeter {
  readonly #clock: Clock;
  #plannedMs: number;
  #lagMs = 0;
  #cancel: Cancel;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#plannedMs = clock.monotonic() + tickMs;
    this.#cancel = clock.after(tickMs, () => this.#tick());
  }

  /** Milliseconds of standstill since the last call, this moment's included; 0 when there was none. */
  take(): number {
    this.#note();
    const lagMs = this.#lagMs;
    this.#lagMs = 0;
    return lagMs;
  }

  stop(): void {
    this.#cancel();
  }

  #tick(): void {
    this.#note();
    this.#plannedMs = this.#clock.monotonic() + tickMs;
    this.#cancel = this.#clock.after(tickMs, () => this.#tick());
  }

  /** Whoever comes first after a standstill, the timer or `take`, counts it. */
  #note(): void {
    const lateMs = this.#clock.monotonic() - this.#plannedMs;
    if (lateMs < lagMinMs) return;
    this.#lagMs += lateMs;
    this.#plannedMs = this.#clock.monotonic();
  }
}
