/** Structured logging: one JSON line, a fixed message, everything else in fields. Never a secret. */
import { pino } from 'pino';
import { visibleJson } from './visible.ts';

export const logLevels = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof logLevels)[number];

/** What the parts of the program need of a logger. `error` fields take the thrown value under `err`. */
export interface Logger {
  debug(fields: Record<string, unknown>, message: string): void;
  info(fields: Record<string, unknown>, message: string): void;
  warn(fields: Record<string, unknown>, message: string): void;
  error(fields: Record<string, unknown>, message: string): void;
  child(fields: Record<string, unknown>): Logger;
  level: string;
}

/**
 * A logger that writes to a file descriptor (2 is stderr), synchronously, so that the last line before a crash is there.
 * Whatever stands in the fields, a line is one line, and nothing in it moves the cursor of whoever reads it.
 */
export function createLogger(options: {
  level: LogLevel;
  fd?: number;
  fields?: Record<string, unknown>;
  /** A line begins with its priority, as sd-daemon(3) has it, which the journal takes off: `journalctl -p warning`. */
  journal?: boolean;
}): Logger {
  const file = pino.destination({ fd: options.fd ?? 2, sync: true });
  const stream = {
    /** pino says in `lastLevel` of what level the line is that it writes. */
    [Symbol.for('pino.metadata')]: true,
    lastLevel: 0,
    write(line: string) {
      const priority = options.journal === true ? `<${priorityOf(this.lastLevel)}>` : '';
      file.write(priority + visibleJson(line));
    },
  };
  return pino(
    {
      level: options.level,
      base: options.fields ?? null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: options.level === 'debug' ? pino.stdSerializers.err : shownError },
    },
    stream,
  );
}

/** Of syslog(3), for a level of pino: 20 is debug, 30 info, 40 warn, 50 error. */
function priorityOf(level: number): number {
  if (level >= 50) return 3;
  if (level >= 40) return 4;
  return level >= 30 ? 6 : 7;
}

/**
 * Errors that we speak in (they have a code from our list and a message for people) without their stack: what a host
 * says while its registry is away should fit the screen. All others are faults, and their stack is what helps.
 */
function shownError(error: unknown): unknown {
  if (!(error instanceof Error) || error.name !== 'AppError' || !('code' in error)) {
    return error instanceof Error ? pino.stdSerializers.err(error) : error;
  }
  return { code: error.code, message: error.message };
}

/** A logger for embedders and tests that want silence. */
export const silentLogger: Logger = {
  debug: discard,
  info: discard,
  warn: discard,
  error: discard,
  child: () => silentLogger,
  level: 'silent',
};

function discard(): void {
  // Silence is what was asked for.
}
