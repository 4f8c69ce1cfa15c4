/**
 * One look over everyone, twice a second: whose silence is too long, and whether it is theirs or ours
 * (domain/guards.ts). It writes what changed and remembers only its suspicion.
 */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { systemCaller } from '../domain/access.ts';
import { decideSuspicion, lagMaxMs, regionLost, type Silence, type Suspicion } from '../domain/guards.ts';
import type { HostStore } from '../store/host.ts';
import type { LivenessStore } from '../store/liveness.ts';
import type { Store } from '../store/port.ts';

export const sweepEveryMs = 250;
/** Hosts whose lapse one sweep writes at the most; the next sweep goes on. */
const lapsesMax = 1_000;

export interface SweepOptions {
  store: Store;
  hosts: HostStore;
  liveness: LivenessStore;
  clock: Clock;
  logger: Logger;
}

/** What a sweep leaves for the next one. */
interface Region {
  hosts: number;
  gone: number;
}

export class Sweep {
  readonly #options: SweepOptions;
  #suspicion: Suspicion = { kind: 'trusting' };
  #lastMs: number;
  readonly #lostRegions = new Set<string>();

  constructor(options: SweepOptions) {
    this.#options = options;
    this.#lastMs = options.clock.monotonic();
  }

  get suspicion(): Suspicion {
    return this.#suspicion;
  }

  async run(): Promise<void> {
    const { hosts, liveness, clock } = this.#options;
    if (this.#forgiveOwnLag()) return;
    const nowMs = clock.monotonic();
    const { silence, due, revived, regions } = this.#look(nowMs);
    await this.#suspect(silence, nowMs);
    if (this.#suspicion.kind !== 'frozen') await Promise.all(due.map((id) => hosts.lapse(id)));
    await Promise.all(revived.map((id) => hosts.revive(id)));
    await this.#tellLostRegions(regions);
    await hosts.tellThinned();
    await liveness.sweep();
  }

  /**
   * A sweep that comes late means that this process stood still (a pause, a blocked disk, a machine that slept). What
   * arrived meanwhile is read first, in the turns before the next sweep, and everybody gets the time back.
   */
  #forgiveOwnLag(): boolean {
    const { hosts, liveness, clock, logger } = this.#options;
    const nowMs = clock.monotonic();
    const lagMs = nowMs - this.#lastMs - sweepEveryMs;
    this.#lastMs = nowMs;
    if (lagMs <= lagMaxMs) return false;
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
        if (record.reason === 'lapsed' && leftMs > 0) revived.push(record.id);
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

  async #suspect(silence: Silence, nowMs: number): Promise<void> {
    const { store, hosts, logger } = this.#options;
    const before = this.#suspicion;
    const after = decideSuspicion(before, silence, nowMs);
    this.#suspicion = after;
    hosts.memory.setTrusted(after.kind === 'trusting' || after.kind === 'spent');
    if (before.kind === after.kind) return;
    logger.warn({ suspicion: after.kind, ...silence }, 'so many hosts are silent that the fault may be here');
    if (after.kind === 'frozen') {
      await store.write(systemCaller, async (tx) => {
        tx.append({ type: 'system.suspected', body: { hosts: silence.up, silent: silence.atRisk } });
      });
    }
    // Whoever is still silent when the others are back had no fair chance to be heard: it gets a whole deadline.
    if (before.kind === 'frozen' && after.kind === 'trusting') hosts.memory.rebaseSilent();
  }

  async #tellLostRegions(regions: Map<string, Region>): Promise<void> {
    for (const [name, region] of regions) {
      if (!regionLost(region)) {
        this.#lostRegions.delete(name);
        continue;
      }
      if (this.#lostRegions.has(name)) continue;
      this.#lostRegions.add(name);
      await this.#options.store.write(systemCaller, async (tx) => {
        tx.append({
          type: 'system.region-lost',
          body: { region: name, hosts: region.hosts, gone: region.gone },
        });
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
