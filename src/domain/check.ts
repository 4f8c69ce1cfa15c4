/**
 * Checks: what the agent looks at for a program that does not tell of itself, and when that changes the status of the
 * program's record. Pure; who looks is agent/checks.ts, and what needs a foreign process is the runner's.
 */

/** One check of agent.yaml. Its record is (type, this host); one check for a type. */
export interface CheckSpec {
  readonly type: string;
  readonly probe: Probe;
  readonly everyMs: number;
  /** A look that takes longer has failed. */
  readonly timeoutMs: number;
  /** Failures in a row until DOWN, and passes in a row until UP again. */
  readonly failAfter: number;
  readonly passAfter: number;
}

/** What is looked at. `exec`, `process` and `systemd` are the runner's to do. */
export type Probe =
  /** Passes with a status in one of the ranges, and a body that `match` (a regular expression) finds something in. */
  | {
      readonly kind: 'http';
      readonly url: string;
      readonly status: readonly (readonly [from: number, to: number])[];
      readonly match: string | null;
    }
  /** Passes when a connection is accepted. */
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  /** Passes with exit code 0. `user` null: nobody in particular. */
  | { readonly kind: 'exec'; readonly command: readonly string[]; readonly user: string | null }
  /** Passes while a process runs whose executable has this file name, or this path when it begins with `/`. */
  | { readonly kind: 'process'; readonly name: string }
  /** Passes while the unit is active. */
  | { readonly kind: 'systemd'; readonly unit: string };

/** One `command` detector of agent.yaml: `match` takes the version (group `version`) out of what the command writes. */
export interface CommandDetectorSpec {
  readonly component: string;
  readonly command: readonly string[];
  readonly match: string;
  readonly user: string | null;
  readonly everyMs: number;
  readonly timeoutMs: number;
}
