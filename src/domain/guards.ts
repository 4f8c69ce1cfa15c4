/**
 * No false DOWN: when many go silent at once, the one who listens is the likelier fault. The guards look at hosts,
 * never at records with a ttl of their own. Below their numbers a silent host is DOWN at its deadline, also when it
 * is the only one. (Kubernetes' zone rules and Lifeguard's self-suspicion, with our numbers.)
 */

export const guardHostsMin = 20;
export const guardShareMin = 0.5;
export const freezeMaxMs = 5 * 60_000;
export const regionHostsMin = 2;
export const regionShareMin = 0.55;
export const flapTransitionsMax = 3;
export const flapWindowMs = 5 * 60_000;
export const flapEventEveryMs = 60_000;

/** What one sweep sees of the UP hosts. */
export interface Silence {
  readonly up: number;
  /** Past their deadline. */
  readonly due: number;
  /** Will pass it within one interval of theirs if they stay silent (includes `due`): they have missed a beat. */
  readonly atRisk: number;
}

export type Suspicion =
  | { readonly kind: 'trusting' }
  /** Nobody is told DOWN; `sinceMs` is monotonic. */
  | { readonly kind: 'frozen'; readonly sinceMs: number }
  /** Frozen for as long as we may; told as it is until the silence is over. */
  | { readonly kind: 'spent' };

/**
 * Trusting → frozen when a host is due and at least half of at least 20 are at risk. Frozen → trusting when most are
 * heard again, → spent after 5 minutes. Spent → trusting when most are heard again.
 */
export function decideSuspicion(suspicion: Suspicion, silence: Silence, nowMs: number): Suspicion {
  const silent = silence.up >= guardHostsMin && silence.atRisk >= guardShareMin * silence.up;
  switch (suspicion.kind) {
    case 'trusting':
      return silent && silence.due > 0 ? { kind: 'frozen', sinceMs: nowMs } : suspicion;
    case 'frozen':
      if (!silent) return { kind: 'trusting' };
      return nowMs - suspicion.sinceMs >= freezeMaxMs ? { kind: 'spent' } : suspicion;
    case 'spent':
      return silent ? suspicion : { kind: 'trusting' };
  }
}

/** More than 2 hosts of a region gone, and at least 55 % of it: one event for the region. */
export function regionLost(region: { readonly hosts: number; readonly gone: number }): boolean {
  return region.gone > regionHostsMin && region.gone >= regionShareMin * region.hosts;
}

/**
 * A host that went and came more than 3 times in 5 minutes is flapping: its answers stay exact, its events come at
 * most once a minute. Keeps what it needs in one small object a host.
 */
export interface Flapping {
  /** Monotonic instants of the latest transitions, oldest first. */
  readonly transitionsMs: readonly number[];
  /** When an event about it was last written. */
  readonly eventAtMs: number;
}

export function noteTransition(flapping: Flapping | undefined, nowMs: number): Flapping {
  const recent = (flapping?.transitionsMs ?? []).filter((atMs) => nowMs - atMs < flapWindowMs);
  return {
    transitionsMs: [...recent, nowMs].slice(-(flapTransitionsMax + 1)),
    eventAtMs: flapping?.eventAtMs ?? Number.NEGATIVE_INFINITY,
  };
}

/** Whether an event about a transition now has to wait. */
export function thinned(flapping: Flapping | undefined, nowMs: number): boolean {
  if (flapping === undefined) return false;
  const recent = flapping.transitionsMs.filter((atMs) => nowMs - atMs < flapWindowMs).length;
  return recent > flapTransitionsMax && nowMs - flapping.eventAtMs < flapEventEveryMs;
}
