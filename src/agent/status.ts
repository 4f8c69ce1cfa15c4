/** What the agent says of itself: `GET /v1/status`, and the checks of `/healthz`. Instants are RFC 3339. */
import { formatInstant } from '../base/time.ts';
import { formatPosition } from '../domain/event.ts';
import type { OpenStore } from '../store/engine/core.ts';
import type { LocalInventory } from '../store/local-inventory.ts';
import type { Outbox } from '../store/outbox.ts';
import type { Checks } from './checks.ts';
import type { Detection } from './detection.ts';
import type { RunnerLink } from './runner-link.ts';
import type { Session } from './session.ts';
import type { TargetKeeper } from './target.ts';

export interface AgentParts {
  readonly store: OpenStore;
  readonly outbox: Outbox;
  readonly inventory: LocalInventory;
  readonly detection: Detection;
  readonly checks: Checks;
  readonly runner: RunnerLink;
  /** Whether a check or a detector asks it. */
  readonly needsRunner: boolean;
  /** Null: this host has no registry. */
  readonly session: Session | null;
  readonly targets: TargetKeeper;
  readonly host: () => { readonly id: string | null; readonly name: string };
}

export interface Check {
  readonly status: 'ok' | 'degraded' | 'failed';
  readonly detail?: string;
}

/** `output`: also what commands of checks and detectors said. */
export function agentStatus(parts: AgentParts, shown: { output: boolean }): Record<string, unknown> {
  const { store, outbox, inventory, detection, checks, runner, host } = parts;
  const { epoch, ackedSeq, pending, pendingBytes, dropped } = outbox.status();
  return {
    role: 'agent',
    host: host(),
    registry: registryStatus(parts),
    inventory: {
      components: inventory.count,
      hash: inventory.hash,
      acknowledged: inventory.ackedHash === inventory.hash,
      detectors: detection.status().map(({ lastGoodMs, output, ...same }) => ({
        ...same,
        lastGood: instant(lastGoodMs),
        ...(shown.output ? { output } : {}),
      })),
    },
    checks: checks.status().map(({ sinceMs, lastLookMs, output, ...same }) => ({
      ...same,
      since: instant(sinceMs),
      lastLook: instant(lastLookMs),
      ...(shown.output ? { output } : {}),
    })),
    runner: runner.status,
    outbox: { epoch, ackedSeq, pending, pendingBytes, dropped },
    store: { position: formatPosition(store.log.head()), ...store.health() },
  };
}

export function agentChecks({
  store,
  detection,
  runner,
  needsRunner,
  session,
  targets,
}: AgentParts): Record<string, Check> {
  const failed = detection.status().filter(({ error }) => error !== null);
  const { state, detail } = store.health();
  return {
    store:
      state === 'ok'
        ? { status: 'ok' }
        : { status: state === 'failed' ? 'failed' : 'degraded', detail: detail ?? state },
    detectors:
      failed.length === 0
        ? { status: 'ok' }
        : { status: 'degraded', detail: failed.map(({ name, error }) => `${name}: ${error}`).join('; ') },
    ...(needsRunner ? { runner: runnerCheck(runner) } : {}),
    ...(session === null ? {} : { registry: registryCheck(session, targets) }),
  };
}

function runnerCheck({ status }: RunnerLink): Check {
  if (status === null)
    return { status: 'degraded', detail: 'no runner: checks and detectors that need one look at nothing' };
  const { connected, problem } = status;
  if (connected && problem === null) return { status: 'ok' };
  return { status: 'degraded', detail: problem ?? 'it was not asked yet' };
}

function registryCheck(session: Session, targets: TargetKeeper): Check {
  const { beats, problem } = session.status();
  const { refusal } = targets.status();
  if (beats?.connected === true && problem === null && refusal === null) return { status: 'ok' };
  return {
    status: 'degraded',
    detail: problem ?? refusal?.detail ?? (beats === null ? 'not joined yet' : 'no heartbeat answered yet'),
  };
}

function registryStatus({ session, targets }: AgentParts): Record<string, unknown> | null {
  if (session === null) return null;
  const { url, joined, beats, credential, skewMs, problem } = session.status();
  const target = targets.status();
  return {
    url,
    joined,
    connected: beats?.connected ?? false,
    since: instant(beats?.sinceMs ?? null),
    lastAnswer: instant(beats?.lastAnswerMs ?? null),
    nextBeat: instant(beats?.nextBeatMs ?? null),
    intervalMs: beats?.intervalMs ?? null,
    credential:
      credential === null
        ? null
        : { generation: credential.generation, expiresAt: instant(credential.expiresAtMs) },
    target: {
      tag: target.tag,
      accepted: instant(target.acceptedAtMs),
      refused: target.refusal,
    },
    clockAheadMs: skewMs,
    problem,
  };
}

function instant(ms: number | null): string | null {
  return ms === null ? null : formatInstant(ms);
}
