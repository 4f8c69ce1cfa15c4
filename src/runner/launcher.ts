/**
 * How the processes of a step are started, found again and ended. Two ways: a transient unit of systemd for each
 * (transient-units.ts), and process groups where systemd is not there or not ours (process-groups.ts).
 */
import type { StepEnd } from '../domain/step.ts';

/** One command, ready to run. No shell: `command` is the argv, its first the program (an absolute path, or found in PATH). */
export interface Launch {
  /** `[a-z0-9-]{1,64}`, unique among what runs: a second launch under a name that runs is refused with `conflict`. */
  readonly name: string;
  readonly command: readonly string[];
  /** Null: a user made for this one run under systemd; whoever the runner is without. */
  readonly user: string | null;
  /** The whole environment; nothing is inherited. */
  readonly env: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  /** What it finds on stdin, and then its end; only the end when absent. One that does not read it is not harmed. */
  readonly input?: string;
  readonly limits: LaunchLimits;
}

export interface LaunchLimits {
  readonly memoryBytes: number;
  readonly tasks: number;
  /** Of one core, 100. */
  readonly cpuPercent: number;
}

/** Something that runs. */
export interface Running {
  readonly name: string;
  readonly startedAtMs: number;
  readonly adopted: boolean;
  /** Called with each piece of output, never after `ended`. Not called for what was written under an earlier runner. */
  onOutput(listener: (stream: 'stdout' | 'stderr', chunk: Uint8Array) => void): void;
  /** Every process of it is gone, also those that left its session. Never rejects. */
  readonly ended: Promise<StepEnd>;
  /** TERM, after `graceMs` KILL, to all of it. Resolves when it has ended. */
  stop(options: { readonly graceMs: number }): Promise<void>;
}

export interface Launcher {
  readonly kind: 'systemd' | 'processes';
  /** `conflict` when the name runs; `unprocessable` when it cannot start (no such program: details.reason `no-program`; no user, no right), with the reason. */
  launch(order: Launch): Promise<Running>;
  /** What an earlier runner started and what has become of it: still running, or ended meanwhile. Call it once, before `launch`. */
  adopt(): Promise<readonly Running[]>;
  /** Leaves what runs to the next runner, or ends all of it. */
  close(options: { readonly stop: boolean }): Promise<void>;
}
