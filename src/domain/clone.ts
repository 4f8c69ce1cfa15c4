/**
 * Clones: two machines that claim to be one host, because a disk or an image was copied with the identity on it.
 *
 * An agent's start is a session: boot id and instant. A new session displaces the one before, as a restart does, and
 * what is displaced is silent from then on. One that goes on beating is alive beside the other. Its first beat may
 * still have been under way when it ended; the second is proof. So a clone shows within two beats of each.
 *
 * Then the machine ids decide. If one session alone has the machine id of the join, it keeps the identity, and all
 * others are turned away until they join anew. If none has it, or more than one (a copy of the id too), nobody can
 * tell them apart: all keep beating, so that the host does not seem to be gone, and none is told anything to do.
 */

/** What a beat says of the agent that sent it. */
export interface ToldSession {
  /** Changes with every boot of the machine. */
  readonly bootId: string;
  readonly startedAtMs: number;
  /** One more with every beat of this start. */
  readonly seq: number;
  /** Of the installation that it runs on; null from agents that do not tell. */
  readonly machineId: string | null;
}

interface Session extends ToldSession {
  readonly begunMs: number;
  readonly heardMs: number;
  /** Beats since another session displaced it. */
  readonly returns: number;
}

/** What is known of a host's sessions. */
export interface HostSessions {
  /** The last one that began; null: none has been heard. */
  readonly current: Session | null;
  readonly displaced: readonly Session[];
  readonly clone: Clone | null;
}

interface Clone {
  /** Whether the machine id of the join tells who keeps the identity. */
  readonly decided: boolean;
  /** When another session than before was last heard. */
  readonly lastMs: number;
}

export const noSessions: HostSessions = { current: null, displaced: [], clone: null };

/**
 * `current`: what the beat says counts. `replay`: it is not newer than the last one of its session, so it says nothing.
 * `aside`: the host is alive, but whether this session speaks for it is open. `outcast`: another machine is this host.
 */
export type SessionVerdict = 'current' | 'replay' | 'aside' | 'outcast';

export interface SessionDecision {
  readonly sessions: HostSessions;
  readonly verdict: SessionVerdict;
  /** This beat was the proof. */
  readonly cloned: boolean;
}

/** Returns after which two sessions are two machines. */
const returnsOfClone = 2;
const displacedMax = 4;
/** Silence after which a displaced session makes room for another. */
const forgottenMs = 300_000;
/** Alone for so long, a session speaks for the host again; the other machine was switched off or joined anew. */
const quietMs = { undecided: 600_000, decided: 86_400_000 };

/** `nowMs` is monotonic. */
export function decideSession(
  known: HostSessions,
  told: ToldSession,
  { joinedMachineId, nowMs }: { readonly joinedMachineId: string; readonly nowMs: number },
): SessionDecision {
  const { current, displaced, clone } = forgetQuiet(known, nowMs);
  if (clone?.decided === true && told.machineId !== joinedMachineId)
    return {
      sessions: { current, displaced, clone: { ...clone, lastMs: nowMs } },
      verdict: 'outcast',
      cloned: false,
    };
  const open = clone !== null && !clone.decided;
  if (current === null || !isSame(current, told)) {
    const before = displaced.find((session) => isSame(session, told));
    if (before !== undefined) return returned(known, { current, displaced, clone }, before);
    const session = { ...told, begunMs: nowMs, heardMs: nowMs, returns: 0 };
    return {
      sessions: { current: session, displaced: displace(displaced, current, nowMs), clone: noted(null) },
      verdict: open ? 'aside' : 'current',
      cloned: false,
    };
  }
  if (told.seq <= current.seq) return { sessions: known, verdict: 'replay', cloned: false };
  return {
    sessions: {
      current: { ...current, seq: told.seq, heardMs: nowMs },
      displaced,
      clone: noted(current),
    },
    verdict: open ? 'aside' : 'current',
    cloned: false,
  };

  /** The clone as it is known after another session than before was heard, or the same one again. */
  function noted(before: Session | null): Clone | null {
    if (!open || !isAnotherSince(before)) return clone;
    return { decided: false, lastMs: nowMs };
  }

  function isAnotherSince(before: Session | null): boolean {
    if (before === null) return true;
    const all = current === null ? displaced : [...displaced, current];
    return all.some((session) => session !== before && session.heardMs > before.heardMs);
  }

  function returned(unchanged: HostSessions, sessions: HostSessions, before: Session): SessionDecision {
    if (told.seq <= before.seq) return { sessions: unchanged, verdict: 'replay', cloned: false };
    const back = { ...before, seq: told.seq, heardMs: nowMs, returns: before.returns + 1 };
    const others = sessions.displaced.map((session) => (session === before ? back : session));
    if (open || back.returns < returnsOfClone)
      return {
        sessions: { current: sessions.current, displaced: others, clone: noted(before) },
        verdict: 'aside',
        cloned: false,
      };
    return { ...decideClone(sessions.current, others, back), cloned: true };
  }

  function decideClone(
    latest: Session | null,
    others: readonly Session[],
    back: Session,
  ): Omit<SessionDecision, 'cloned'> {
    // What was silent before the latest began is an earlier start of one of them.
    const alive = others.filter(({ heardMs }) => heardMs > (latest?.begunMs ?? 0));
    if (latest !== null) alive.push(latest);
    const keepers = alive.filter(({ machineId }) => machineId === joinedMachineId);
    const [keeper] = keepers;
    if (keeper === undefined || keepers.length > 1)
      return {
        sessions: { current: latest, displaced: others, clone: { decided: false, lastMs: nowMs } },
        verdict: 'aside',
      };
    return {
      sessions: { current: keeper, displaced: [], clone: { decided: true, lastMs: nowMs } },
      verdict: keeper === back ? 'current' : 'outcast',
    };
  }
}

/** Two machines claim to be the host, and nobody can tell which one is. */
export function isUndecided({ clone }: HostSessions): boolean {
  return clone !== null && !clone.decided;
}

/** Whoever was heard last is the host, once nobody else has been for long. */
function forgetQuiet(sessions: HostSessions, nowMs: number): HostSessions {
  const { clone, current, displaced } = sessions;
  if (clone === null || nowMs - clone.lastMs <= (clone.decided ? quietMs.decided : quietMs.undecided))
    return sessions;
  const all = current === null ? displaced : [current, ...displaced];
  const [latest] = all.toSorted((a, b) => b.heardMs - a.heardMs);
  return { current: latest === undefined ? null : { ...latest, returns: 0 }, displaced: [], clone: null };
}

function displace(displaced: readonly Session[], current: Session | null, nowMs: number): readonly Session[] {
  if (current === null) return displaced;
  const kept = displaced.filter((session) => isRecent(session, nowMs));
  // Those that were there before may come back and prove a clone; one more start of the same agent proves nothing.
  return kept.length < displacedMax ? [...kept, current] : kept;
}

function isRecent({ heardMs }: Session, nowMs: number): boolean {
  return nowMs - heardMs <= forgottenMs;
}

function isSame(a: ToldSession, b: ToldSession): boolean {
  return a.startedAtMs === b.startedAtMs && a.bootId === b.bootId;
}
