/**
 * Work on what somebody else wrote, with a time limit that it cannot miss: reading six kilobytes of hostile YAML took an
 * hour. It blocks this process until then. Only V8's own end of a script ends work that never turns back to the loop, and
 * it ends whatever the script has called; the work must leave nothing half done behind.
 */
import { createContext, Script } from 'node:vm';

/** The work took longer than it may. */
export class TooSlow extends Error {
  override readonly name = 'TooSlow';
}

/** What `work` returns; throws what it throws, and `TooSlow` once it has taken `ms`. Costs 1 ms itself. */
export function timed<T>(ms: number, work: () => T): T {
  try {
    return new Script('work()').runInContext(createContext({ work }), { timeout: ms }) as T;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error;
    throw new TooSlow(`It took longer than ${ms} ms`, { cause: error });
  }
}
