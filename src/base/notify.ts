/**
 * Telling systemd how we are (sd_notify). Node has no datagram Unix sockets, so `systemd-notify` does it, which also
 * waits until systemd has read the message. Its messages come from a child: the unit needs `NotifyAccess=all`.
 */
import { execFile } from 'node:child_process';
import type { Clock } from './clock.ts';
import { limits } from './limits.ts';
import type { Logger } from './log.ts';

/** Each resolves when systemd knows, or when that failed and was logged. None rejects; without a socket, none acts. */
export interface Notifier {
  /** False when nobody listens. */
  readonly heard: boolean;
  /** Started: the units that wait for this one may start. `status` is one line for `systemctl status`. */
  ready(status: string): Promise<void>;
  /** The start needs up to this much longer. */
  extend(byMs: number): Promise<void>;
  /** Still alive. A call while one is on its way joins it, so that a slow systemd gathers no children. */
  watchdog(): Promise<void>;
  /** On the way out, by intent. */
  stopping(): Promise<void>;
}

export interface NotifierOptions {
  /** `NOTIFY_SOCKET`; absent when systemd did not start us. */
  readonly notifySocket?: string | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Only for tests: another program in place of `systemd-notify`. */
  readonly command?: string;
}

export function createNotifier(options: NotifierOptions): Notifier {
  const { notifySocket } = options;
  if (notifySocket === undefined || notifySocket === '') {
    const silent = () => Promise.resolve();
    return { heard: false, ready: silent, extend: silent, watchdog: silent, stopping: silent };
  }
  let watchdog: Promise<void> | undefined;
  return {
    heard: true,
    ready: (status) => send(['READY=1', `STATUS=${status}`], notifySocket, options),
    extend: (byMs) => send([`EXTEND_TIMEOUT_USEC=${Math.round(byMs * 1_000)}`], notifySocket, options),
    watchdog() {
      watchdog ??= send(['WATCHDOG=1'], notifySocket, options).finally(() => {
        watchdog = undefined;
      });
      return watchdog;
    },
    stopping: () => send(['STOPPING=1', 'STATUS=stopping'], notifySocket, options),
  };
}

function send(messages: readonly string[], notifySocket: string, options: NotifierOptions): Promise<void> {
  const { clock, logger, command = 'systemd-notify' } = options;
  const tooLate = new AbortController();
  const cancel = clock.after(limits.notifyMs, () => tooLate.abort());
  return new Promise((resolve) => {
    execFile(
      command,
      // Assignments, not --ready and --stopping: the latter is unknown before systemd 253.
      messages,
      {
        // Nothing of our own environment: it may hold secrets.
        env: { NOTIFY_SOCKET: notifySocket, PATH: '/usr/bin:/bin' },
        signal: tooLate.signal,
        killSignal: 'SIGKILL',
      },
      (error) => {
        cancel();
        if (error !== null) logger.warn({ err: error, message: messages[0] }, 'systemd not notified');
        resolve();
      },
    );
  });
}
