/** Checks and detectors that the runner does: how they are asked for, and what their ends mean. */
import { Gate } from '../../base/gate.ts';
import { limits } from '../../base/limits.ts';
import type { Outcome } from '../../domain/check.ts';
import { AppError, isAppError } from '../../domain/error.ts';
import type { RunnerService } from '../../domain/services.ts';
import type { Step, StepResult } from '../../domain/step.ts';

/** The runner ends a step at its time limit, TERM and KILL; only then, this much later, it is not waited for any more. */
export const runnerGraceMs = 10_000;

/** The runner as checks and detectors ask it: so many steps at once, the others wait for their turn. */
export class Steps {
  readonly #runner: RunnerService | null;
  readonly #gate = new Gate(limits.checkStepsMax);

  constructor(runner: RunnerService | null) {
    this.#runner = runner;
  }

  /**
   * As `RunnerService.run`. `unavailable` without a runner. `onTurn` is called when its turn has come: time limits begin
   * then.
   */
  async run(
    step: Step,
    { signal, onTurn }: { signal: AbortSignal; onTurn?: () => void },
  ): Promise<StepResult> {
    const runner = this.#runner;
    if (runner === null) {
      throw new AppError(
        'unavailable',
        `Cannot run ${what(step)}: no runner on this host, which alone starts commands and looks at processes`,
      );
    }
    return this.#gate.through(() => {
      signal.throwIfAborted();
      onTurn?.();
      return runner.run(step, { signal });
    });
  }
}

/** What the look of a check found. Rejects only with the signal's reason. */
export async function probeByStep(
  steps: Steps,
  type: string,
  options: { signal: AbortSignal; onTurn: () => void },
): Promise<Outcome> {
  try {
    return outcomeOf(await steps.run({ kind: 'check', check: type }, options));
  } catch (error) {
    options.signal.throwIfAborted();
    if (isAppError(error)) return { kind: 'unknown', detail: error.message };
    throw error;
  }
}

/**
 * Exit code 0 passes. Unknown is what says nothing of what was looked at: nobody knows how it ended, or it was started by
 * an earlier runner, whose end broke its output and perhaps it with that.
 */
export function outcomeOf(result: StepResult): Outcome {
  const { end, adopted } = result;
  const line = firstLine(result);
  const output = line === null ? {} : { output: line };
  const failed = (detail: string): Outcome => ({ kind: adopted ? 'unknown' : 'failed', detail, ...output });
  switch (end.kind) {
    case 'passed':
    case 'failed':
      return { kind: end.kind, detail: end.detail };
    case 'exited':
      return end.exitCode === 0
        ? { kind: 'passed', detail: 'exit code 0', ...output }
        : failed(`exit code ${end.exitCode}`);
    case 'signalled':
      return failed(`ended by ${end.signal}`);
    case 'timed-out':
      return failed('over its time limit, ended');
    case 'out-of-memory':
      return failed('over its memory limit, ended');
    case 'cancelled':
      return { kind: 'unknown', detail: 'it was cancelled' };
    case 'lost':
      return { kind: 'unknown', detail: end.detail };
  }
}

const lineLengthMax = 200;

/** What it said first, as plugins of Nagios and its kin do. */
export function firstLine({ stdout, stderr }: Pick<StepResult, 'stdout' | 'stderr'>): string | null {
  const [line = ''] = (stdout.trim() || stderr.trim()).split('\n', 1);
  return line.trim().slice(0, lineLengthMax) || null;
}

function what(step: Step): string {
  switch (step.kind) {
    case 'check':
      return `the check "${step.check}"`;
    case 'rpm':
      return 'the detector rpm';
    case 'detector':
    case 'unit':
      return `the detector of "${step.component}"`;
    case 'placement':
      return `${step.command} of ${step.service}`;
    case 'notify':
      return `the command of the sink "${step.sink}"`;
  }
}
