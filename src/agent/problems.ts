/**
 * The last warnings and errors of an agent, for whoever asks what was wrong: the journal may be somebody else's, and is
 * none of ours to read. Bounded in number and size; the same one again is counted, so that what fails over and over does
 * not push out the rest. They are written into the data directory now and then, so that they can still be read when the
 * agent is down.
 */
import { join } from 'node:path';
import { readPrivateFile, writeFileAtomic } from '../base/atomic-file.ts';
import type { Clock } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import { Mask } from '../base/mask.ts';
import { formatInstant } from '../base/time.ts';

export interface Problem {
  /** Of the last one. */
  readonly at: string;
  readonly level: 'warn' | 'error';
  readonly message: string;
  /** Its fields as JSON, masked and cut. */
  readonly detail: string;
  /** How often, since it was first kept. */
  readonly count: number;
}

/** In the data directory. */
export function problemsFile(dataDir: string): string {
  return join(dataDir, 'problems.json');
}

export class RecentProblems {
  readonly #clock: Clock;
  readonly #mask = new Mask();
  #problems: readonly Problem[];
  #written: readonly Problem[];

  /** `before`: of an earlier start. */
  constructor(clock: Clock, before: readonly Problem[] = []) {
    this.#clock = clock;
    this.#problems = before.slice(-limits.recentProblemsMax);
    this.#written = this.#problems;
  }

  /** The oldest first. */
  list(): readonly Problem[] {
    return this.#problems;
  }

  /** The same logger, of which warnings and errors are kept too, at whatever level it writes. */
  listening(logger: Logger): Logger {
    const heard = (level: Problem['level']) => (fields: Record<string, unknown>, message: string) => {
      this.#add(level, fields, message);
      logger[level](fields, message);
    };
    return {
      debug: (fields, message) => logger.debug(fields, message),
      info: (fields, message) => logger.info(fields, message),
      warn: heard('warn'),
      error: heard('error'),
      child: (fields) => this.listening(logger.child(fields)),
      get level() {
        return logger.level;
      },
      set level(level) {
        logger.level = level;
      },
    };
  }

  /** Writes those that came since the last time; nothing when there are none. Throws `FileError`. */
  async write(dataDir: string): Promise<void> {
    const problems = this.#problems;
    if (problems === this.#written) return;
    await writeFileAtomic(problemsFile(dataDir), `${JSON.stringify(problems)}\n`, { mode: 0o600 });
    this.#written = problems;
  }

  #add(level: Problem['level'], fields: Record<string, unknown>, message: string): void {
    const detail = JSON.stringify(this.#mask.value(withoutErrors(withoutTries(fields)))).slice(
      0,
      limits.problemDetailMax,
    );
    const at = formatInstant(this.#clock.now());
    const before = this.#problems.find(
      (one) => one.message === message && one.detail === detail && one.level === level,
    );
    const others = this.#problems.filter((one) => one !== before).slice(1 - limits.recentProblemsMax);
    this.#problems = [...others, { at, level, message, detail, count: (before?.count ?? 0) + 1 }];
  }
}

/** Those that an agent of this data directory has left; none when there is no file, or it is no list of them. */
export async function readProblems(
  dataDir: string,
  options: { uid?: number } = {},
): Promise<readonly Problem[]> {
  let text: string;
  try {
    text = (await readPrivateFile(problemsFile(dataDir), options)).toString('utf8');
  } catch {
    return [];
  }
  try {
    const found: unknown = JSON.parse(text);
    return Array.isArray(found) ? found.filter(isProblem).slice(-limits.recentProblemsMax) : [];
  } catch {
    return [];
  }
}

function isProblem(value: unknown): value is Problem {
  if (typeof value !== 'object' || value === null) return false;
  const { at, level, message, detail, count } = value as Partial<Record<keyof Problem, unknown>>;
  const isText = [at, message, detail].every((text) => typeof text === 'string');
  return isText && (level === 'warn' || level === 'error') && typeof count === 'number';
}

/** Without what differs from one try of a loop to the next. */
function withoutTries({ failures, retryMs, ...same }: Record<string, unknown>): Record<string, unknown> {
  return same;
}

/** Without the stack of an error: the message and code say what a person can use. */
function withoutErrors(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [
      name,
      value instanceof Error
        ? 'code' in value
          ? `${value.message} (${String(value.code)})`
          : value.message
        : value,
    ]),
  );
}
