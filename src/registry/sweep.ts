/**
 * One look over everyone, twice a second: whose silence is too long, and whether it is theirs or ours
 * (domain/guards.ts). It writes what changed and remembers only its suspicion.
 */
import type { Clock } from '../base/clock.ts';
import type { LagMeter } from '../base/lag.ts';
import type { Logger } from '../base/log.ts';
import { systemCaller } from '../domain/access.ts';
import { decideSuspicion, regionLost, type Silence, type Suspicion } from '../domain/guards.ts';
import type { Store } from '../store/engine/port.ts';
import type { HostStore } from '../store/host.ts';
import type { LivenessStore } from '../store/liveness.ts';

export const sweepEveryMs = 250;
/** Hosts whose lapse one sweep writes at the most; the next sweep goes on. */
const lapsesMax = 1_000;

export interface SweepOptions {
  store: Store;
  hosts: HostStore;
  liveness: LivenessStore;
  clock: Clock;
  logger: Logger;
  /** Tells when this process stood still: then the silence is its own. */
  lag: LagMeter;
}

/** What a sweep leaves for the next one. */
interface Region {
  hosts: number;
  gone: number;
}

export class Sweep {
  readonly #options: SweepOptions;
  #suspicion: Suspicion = { kind: 'trusting' };
  #suspicionTold = true;
  readonly #lostRegions = new Set<string>();

  constructor(options: SweepOptions) {
    this.#options = options;
  }

  get suspicion(): Suspicion {
    return this.#suspicion;
  }

  /** Whether most hosts of a region are silent, as of the last look. */
  isLost(region: string): boolean {
    return this.#lostRegions.has(region);
  }

  /** Looks once. True: there was more to write than one look does, look again at once. */
  async run(): Promise<boolean> {
    const { hosts, liveness, clock } = this.#options;
    if (this.#forgiveStandstill()) return false;
    const nowMs = clock.monotonic();
    const { silence, due, revived, regions } = this.#look(nowMs);
    this.#suspect(silence, nowMs);
    const frozen = this.#suspicion.kind === 'frozen';
    // One host whose write fails keeps nobody else from being told.
    const written = await Promise.allSettled([
      this.#tellSuspicion(silence),
      ...(frozen ? [] : due.map((id) => hosts.lapse(id))),
      ...revived.map((id) => hosts.revive(id)),
      this.#tellLostRegions(regions),
      hosts.tellThinned(),
      liveness.sweep(),
    ]);
    for (const outcome of written) if (outcome.status === 'rejected') throw outcome.reason;
    return !frozen && due.length >= lapsesMax;
  }

  /** What arrived meanwhile is read first, in the turns before the next sweep, and everybody gets the time back. */
  #forgiveStandstill(): boolean {
    const { hosts, liveness, lag, logger } = this.#options;
    const lagMs = lag.take();
    if (lagMs === 0) return false;
    logger.warn({ lagMs: Math.round(lagMs) }, 'stood still, deadlines moved by that time');
    hosts.memory.presence.forgive(lagMs);
    liveness.forgive(lagMs);
    return true;
  }

  #look(nowMs: number): { silence: Silence; due: string[]; revived: string[]; regions: Map<string, Region> } {
    const { memory } = this.#options.hosts;
    const { presence } = memory;
    const silence = { up: 0, due: 0, atRisk: 0 };
    const due: string[] = [];
    const revived: string[] = [];
    const regions = new Map<string, Region>();
    for (const slot of presence.slots()) {
      const record = presence.record(slot);
      const leftMs = presence.deadlineMs(slot) - nowMs;
      const region = regionOf(regions, record.region);
      if (region !== undefined) region.hosts += record.reason === 'left' ? 0 : 1;
      if (record.status === 'DOWN') {
        if (region !== undefined && record.reason === 'lapsed') region.gone += 1;
        if (record.reason === 'lapsed' && presence.heardInTime(slot, nowMs)) revived.push(record.id);
        continue;
      }
      silence.up += 1;
      if (leftMs <= memory.facts(record.id).intervalToldMs) silence.atRisk += 1;
      if (leftMs > 0) continue;
      silence.due += 1;
      if (due.length < lapsesMax) due.push(record.id);
    }
    return { silence, due, revived, regions };
  }

  #suspect(silence: Silence, nowMs: number): void {
    const { hosts, logger } = this.#options;
    const before = this.#suspicion;
    const after = decideSuspicion(before, silence, nowMs);
    this.#suspicion = after;
    hosts.memory.setTrusted(after.kind !== 'frozen');
    if (before.kind === after.kind) return;
    this.#suspicionTold = after.kind !== 'frozen';
    logger.warn({ suspicion: after.kind, ...silence }, 'so many hosts are silent that the fault may be here');
    // Whoever is still silent when the others are back had no fair chance to be heard: it gets a whole deadline.
    if (before.kind === 'frozen' && after.kind === 'trusting') hosts.memory.rebaseSilent();
  }

  /** One event for each time that it froze; written again until it is. */
  async #tellSuspicion(silence: Silence): Promise<void> {
    if (this.#suspicionTold) return;
    await this.#options.store.write(systemCaller, async (tx) => {
      tx.append({ type: 'system.suspected', body: { hosts: silence.up, silent: silence.atRisk } });
      tx.onCommit(() => {
        this.#suspicionTold = true;
      });
    });
  }

  async #tellLostRegions(regions: Map<string, Region>): Promise<void> {
    for (const [name, region] of regions) {
      if (!regionLost(region)) {
        this.#lostRegions.delete(name);
        continue;
      }
      if (this.#lostRegions.has(name)) continue;
      const body = { region: name, hosts: region.hosts, gone: region.gone };
      await this.#options.store.write(systemCaller, async (tx) => {
        tx.append({ type: 'system.region-lost', body });
        tx.onCommit(() => this.#lostRegions.add(name));
      });
    }
  }
}

function regionOf(regions: Map<string, Region>, name: string | null): Region | undefined {
  if (name === null) return undefined;
  const known = regions.get(name);
  if (known !== undefined) return known;
  const region = { hosts: 0, gone: 0 };
  regions.set(name, region);
  return region;
}
