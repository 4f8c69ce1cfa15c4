/** A runner written by hand: steps end as the test says. */
import { AppError } from '../../src/domain/error.ts';
import type { RunnerService } from '../../src/domain/services.ts';
import type { Step, StepEnd, StepResult } from '../../src/domain/step.ts';

export interface Script extends Partial<Omit<StepResult, 'end'>> {
  readonly end: StepEnd;
}

export class ScriptedRunner implements RunnerService {
  /** By the type of the check or the component; an error is thrown, `hung` never ends. */
  readonly scripts = new Map<string, Script | AppError | 'hung'>();
  readonly asked: string[] = [];
  underWay = 0;
  mostUnderWay = 0;

  async run(step: Step, { signal }: { signal: AbortSignal }): Promise<StepResult> {
    const name = nameOf(step);
    this.asked.push(name);
    this.underWay += 1;
    this.mostUnderWay = Math.max(this.mostUnderWay, this.underWay);
    try {
      // As over a socket: no answer comes at once.
      await Promise.resolve();
      signal.throwIfAborted();
      const script = this.scripts.get(name) ?? new AppError('not-found', `Cannot run "${name}": unknown`);
      if (script instanceof AppError) throw script;
      if (script === 'hung') {
        return await new Promise((_, reject) =>
          signal.addEventListener('abort', () => reject(signal.reason), { once: true }),
        );
      }
      return {
        startedAtMs: 0,
        durationMs: 1,
        stdout: '',
        stderr: '',
        droppedBytes: 0,
        adopted: false,
        ...script,
      };
    } finally {
      this.underWay -= 1;
    }
  }
}

function nameOf(step: Step): string {
  switch (step.kind) {
    case 'check':
      return step.check;
    case 'detector':
    case 'unit':
      return step.component;
    case 'rpm':
      return 'rpm';
    case 'placement':
      return step.service;
    case 'notify':
      return step.sink;
  }
}

export const exited = (exitCode: number, stdout = ''): Script => ({
  end: { kind: 'exited', exitCode },
  stdout,
});
