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

import { beatIntervalMaxMs, hostDeadlineMs } from './host.ts';

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
/** Silence after which no agent is alive: the deadline of the longest interval. */
const aliveMs = hostDeadlineMs(beatIntervalMaxMs);
/** Alone for so long, a session speaks for the host again; the other machine was switched off or joined anew. */
const quietMs = { undecided: 600_000, decided: 86_400_000 };

/** What a decision is made in. `nowMs` is monotonic. */
interface Situation {
  readonly joinedMachineId: string;
  readonly nowMs: number;
}

export function decideSession(known: HostSessions, told: ToldSession, situation: Situation): SessionDecision {
  const { joinedMachineId, nowMs } = situation;
  const sessions = forgetQuiet(known, nowMs);
  const { current, displaced, clone } = sessions;
  if (clone?.decided === true && told.machineId !== joinedMachineId) {
    return {
      sessions: { ...sessions, clone: { ...clone, lastMs: nowMs } },
      verdict: 'outcast',
      cloned: false,
    };
  }
  const before = [current, ...displaced].find((session) => session !== null && isSame(session, told)) ?? null;
  if (before !== null && told.seq <= before.seq) return { sessions: known, verdict: 'replay', cloned: false };
  const alternated = noteAlternation(sessions, before, nowMs);
  const speaks = isUndecided(sessions) ? 'aside' : 'current';
  if (before === null) {
    const begun = { ...told, begunMs: nowMs, heardMs: nowMs, returns: 0 };
    const next = { current: begun, displaced: displace(displaced, current, nowMs), clone: alternated };
    return { sessions: next, verdict: speaks, cloned: false };
  }
  const heard = { ...before, seq: told.seq, heardMs: nowMs };
  if (before === current)
    return { sessions: { current: heard, displaced, clone: alternated }, verdict: speaks, cloned: false };
  const back = { ...heard, returns: before.returns + 1 };
  const next = {
    current,
    displaced: displaced.map((session) => (session === before ? back : session)),
    clone: alternated,
  };
  if (isUndecided(sessions) || back.returns < returnsOfClone)
    return { sessions: next, verdict: 'aside', cloned: false };
  return { ...decideClone(next, back, situation), cloned: true };
}

/** Two sessions are alive: whose the identity is. */
function decideClone(
  { current, displaced }: HostSessions,
  back: Session,
  { joinedMachineId, nowMs }: Situation,
): Omit<SessionDecision, 'cloned'> {
  // What was silent before the latest began is an earlier start of one of them.
  const alive = displaced.filter(({ heardMs }) => heardMs > (current?.begunMs ?? 0));
  if (current !== null) alive.push(current);
  const [keeper, ...more] = alive.filter(({ machineId }) => machineId === joinedMachineId);
  if (keeper === undefined || more.length > 0)
    return { sessions: { current, displaced, clone: { decided: false, lastMs: nowMs } }, verdict: 'aside' };
  return {
    sessions: { current: keeper, displaced: [], clone: { decided: true, lastMs: nowMs } },
    verdict: keeper === back ? 'current' : 'outcast',
  };
}

/** While nobody can tell two machines apart: whether another one than `before` was heard since that last was. */
function noteAlternation(
  { current, displaced, clone }: HostSessions,
  before: Session | null,
  nowMs: number,
): Clone | null {
  if (clone === null || clone.decided) return clone;
  const others = [current, ...displaced].filter((session) => session !== before);
  const isAnother = before === null || others.some((session) => (session?.heardMs ?? 0) > before.heardMs);
  return isAnother ? { decided: false, lastMs: nowMs } : clone;
}

/**
 * A session says that it ends, while nobody can tell two machines apart. The one that is left is the host again; with
 * more than one left it stays open. Null: none is left, so the host itself ends.
 */
export function sessionLeft(
  { current, displaced, clone }: HostSessions,
  told: Pick<ToldSession, 'bootId' | 'startedAtMs'>,
  nowMs: number,
): HostSessions | null {
  const left = [current, ...displaced].filter(
    (session) =>
      session !== null &&
      !isSame(session, told) &&
      nowMs - session.heardMs <= aliveMs &&
      // What was silent before the latest began is an earlier start of one of them.
      (session === current || session.heardMs > (current?.begunMs ?? 0)),
  ) as Session[];
  const [latest, ...others] = left.toSorted((a, b) => b.begunMs - a.begunMs);
  if (latest === undefined) return null;
  if (others.length > 0) return { current: latest, displaced: others, clone };
  return { current: { ...latest, returns: 0 }, displaced: [], clone: null };
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

function isSame(
  a: Pick<ToldSession, 'bootId' | 'startedAtMs'>,
  b: Pick<ToldSession, 'bootId' | 'startedAtMs'>,
): boolean {
  return a.startedAtMs === b.startedAtMs && a.bootId === b.bootId;
}
