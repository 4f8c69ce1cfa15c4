/**
 * Steps: the typed orders that the runner takes. A step names what to do and never says how: the command of a check or
 * a detector stands in the host's own agent.yaml, that of a placement in the target that the registry signed. So whoever
 * gets hold of the agent can make the runner do nothing that local root or the registry has not written down.
 */
import type { SignedTarget } from './target.ts';

export type Step =
  /** A check of agent.yaml (`exec`, `process`, `systemd`), by its type. */
  | { readonly kind: 'check'; readonly check: string }
  /** A command detector of agent.yaml, by its component. */
  | { readonly kind: 'detector'; readonly component: string }
  /** One command of a placement that the exec driver converges; `target` is what it stands in. */
  | {
      readonly kind: 'placement';
      readonly target: Pick<SignedTarget, 'body' | 'signature'>;
      /** `app/service` */
      readonly service: string;
      readonly command: 'fetch' | 'apply' | 'info';
    };

/**
 * How a step ended. `passed` and `failed` are of steps that look (`process`, `systemd`); what ran a command says how that
 * ended. `lost`: it ran, but nobody knows how it ended (the runner was killed, the machine was restarted).
 */
export type StepEnd =
  | { readonly kind: 'passed' | 'failed'; readonly detail: string }
  | { readonly kind: 'exited'; readonly exitCode: number }
  | { readonly kind: 'signalled'; readonly signal: string }
  | { readonly kind: 'timed-out' | 'cancelled' | 'out-of-memory' }
  | { readonly kind: 'lost'; readonly detail: string };

export interface StepResult {
  readonly end: StepEnd;
  readonly startedAtMs: number;
  readonly durationMs: number;
  /** What it wrote, the beginning when it was too much; invalid UTF-8 replaced. */
  readonly stdout: string;
  readonly stderr: string;
  /** Bytes that were written and not kept. */
  readonly droppedBytes: number;
  /** It was started before this runner was: what it wrote meanwhile may be missing. */
  readonly adopted: boolean;
}
