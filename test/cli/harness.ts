/** Runs a command line in this process, with streams, environment and machine of its own. */

import { type Clock, systemClock } from '../../src/base/clock.ts';
import { type Logger, silentLogger } from '../../src/base/log.ts';
import { createNotifier, type Notifier } from '../../src/base/notify.ts';
import type { Io } from '../../src/cli/io.ts';
import type { Roles } from '../../src/cli/roles.ts';
import { run } from '../../src/cli/run.ts';
import { SeededRandom } from '../helpers/random.ts';

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliOptions {
  readonly env?: Record<string, string>;
  /** Width of the terminal; without it the streams are pipes. */
  readonly columns?: number;
  readonly stdin?: string;
  readonly roles?: Partial<Roles>;
  readonly installHost?: Io['installHost'];
  readonly logger?: Logger;
  readonly signal?: AbortSignal;
  readonly uid?: number;
  /** Nobody is told when absent. */
  readonly notifier?: Notifier;
  readonly home?: string;
  /** What the clock on the wall says; the real one otherwise. */
  readonly now?: number;
  readonly clock?: Clock;
  /** Called with each text that goes to stdout. */
  readonly onStdout?: (text: string) => void;
}

export async function cli(argv: readonly string[], options: CliOptions = {}): Promise<Outcome> {
  const { now, columns, stdin = '' } = options;
  let [stdout, stderr] = ['', ''];
  const absent = () => Promise.reject(new Error('this test starts no role'));
  const io: Io = {
    env: options.env ?? {},
    stdout: {
      write(text) {
        stdout += text;
        options.onStdout?.(text);
      },
      columns,
    },
    stderr: {
      write(text) {
        stderr += text;
      },
      columns,
    },
    stdin: (async function* () {
      yield Buffer.from(stdin);
    })(),
    home: options.home ?? '/nonexistent',
    hostname: 'This_Machine',
    uid: options.uid ?? process.getuid?.() ?? 0,
    pid: process.pid,
    clock: options.clock ?? (now === undefined ? systemClock : { ...systemClock, now: () => now }),
    random: new SeededRandom(),
    signal: options.signal ?? new AbortController().signal,
    logger: async () => options.logger ?? silentLogger,
    notifier: async (logger) => options.notifier ?? createNotifier({ clock: systemClock, logger }),
    installHost: options.installHost ?? absent,
    roles: {
      resetAdmin: absent,
      startRegistry: absent,
      startAgent: absent,
      startRunner: absent,
      restore: absent,
      addKeys: absent,
      readLeftBehind: absent,
      ...options.roles,
    },
  };
  const code = await run(argv, io);
  return { code, stdout, stderr };
}
