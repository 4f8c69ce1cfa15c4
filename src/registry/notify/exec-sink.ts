/**
 * A sink that is a command of local root: the runner reads it from the same file, and is told the name of the sink and
 * what comes on its stdin, never what to start. Exit 0: taken. 75 (EX_TEMPFAIL): try again. Else it was refused.
 */
import { AppError } from '../../domain/error.ts';
import { messageDocument } from '../../domain/notify-batch.ts';
import { oneLine } from '../../domain/notify-words.ts';
import type { ExecSpec } from '../../domain/sinks.ts';
import type { StepResult } from '../../domain/step.ts';
import type { Sender, SenderSurroundings } from './sender.ts';

const tryAgain = 75;

export function createExec({ name }: ExecSpec, { runner }: SenderSurroundings): Sender {
  return {
    async deliver(message, { signal }) {
      if (runner === null)
        throw new AppError(
          'unavailable',
          `Cannot tell "${name}": this registry has no runner; pass --runner-socket`,
        );
      const input = `${JSON.stringify(messageDocument(message))}\n`;
      return takenOr(name, await runner.run({ kind: 'notify', sink: name, input }, { signal }));
    },
    close: () => Promise.resolve(),
  };
}

function takenOr(name: string, { end, stdout, stderr }: StepResult): string {
  const said = oneLine(stderr === '' ? stdout : stderr, 200);
  const words = (how: string) => (said === '' ? how : `${how}: ${said}`);
  switch (end.kind) {
    case 'exited':
      if (end.exitCode === 0) return words('exit 0');
      throw new AppError(
        end.exitCode === tryAgain ? 'unavailable' : 'internal',
        `The command of "${name}" ended with ${words(`exit ${end.exitCode}`)}`,
      );
    case 'signalled':
      throw new AppError('internal', `The command of "${name}" was ended by ${words(end.signal)}`);
    case 'lost':
      throw new AppError('unavailable', `The command of "${name}" was lost: ${end.detail}`);
    case 'timed-out':
    case 'cancelled':
    case 'out-of-memory':
      throw new AppError('internal', `The command of "${name}" was ended: ${words(end.kind)}`);
    case 'passed':
    case 'failed':
      throw new AppError('internal', `The command of "${name}" was not run: ${end.detail}`);
  }
}
