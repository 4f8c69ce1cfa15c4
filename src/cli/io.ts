/** Everything of the outside that the command line touches, as one value: tests pass their own. */
import type { Clock } from '../base/clock.ts';
import type { Logger, LogLevel } from '../base/log.ts';
import type { Notifier } from '../base/notify.ts';
import type { Random } from '../base/random.ts';
import type { InstallHost } from './install-host.ts';
import type { Roles } from './roles.ts';

export interface Output {
  write(text: string): void;
  /** Columns of the terminal; undefined when it is none. */
  readonly columns: number | undefined;
}

export interface Io {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdout: Output;
  readonly stderr: Output;
  readonly stdin: AsyncIterable<Uint8Array>;
  readonly home: string;
  readonly hostname: string;
  readonly uid: number;
  readonly pid: number;
  readonly clock: Clock;
  readonly random: Random;
  /** Aborted by the first SIGINT or SIGTERM. */
  readonly signal: AbortSignal;
  /** Logs of the roles: JSON lines on stderr. */
  logger(level: LogLevel): Promise<Logger>;
  /** Tells systemd how a role is; nobody when it has not started this process. */
  notifier(logger: Logger): Promise<Notifier>;
  /** What `holdfast install` works on. */
  installHost(): Promise<InstallHost>;
  readonly roles: Roles;
}
