/** The real outside of the command line: this process, its streams, its machine. */
import { fstatSync } from 'node:fs';
import { homedir, hostname } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../base/clock.ts';
import { systemRandom } from '../base/random.ts';
import { builtInRoles } from './built-in-roles.ts';
import type { ExitCode } from './exit.ts';
import type { Io, Output } from './io.ts';
import { run } from './run.ts';

/** Runs `argv` with this process's streams and environment. `signal` asks it to stop. Resolves with the exit code. */
export function runProcess(argv: readonly string[], signal: AbortSignal): Promise<ExitCode> {
  const { env, stdin } = process;
  const io: Io = {
    env,
    stdout: outputOf(process.stdout),
    stderr: outputOf(process.stderr),
    stdin,
    home: env['HOME'] ?? homedir(),
    hostname: hostname(),
    uid: process.getuid?.() ?? -1,
    pid: process.pid,
    clock: systemClock,
    random: systemRandom,
    signal,
    logger: async (level) =>
      (await import('../base/log.ts')).createLogger({ level, journal: isJournal(env) }),
    notifier: async (logger) => {
      const { createNotifier } = await import('../base/notify.ts');
      return createNotifier({ notifySocket: env['NOTIFY_SOCKET'], clock: systemClock, logger });
    },
    installHost: async () => {
      const { carriedAddon, runningBinary } = await import('../store/engine/addon.ts');
      const { systemd } = await import('../runner/systemctl.ts');
      return {
        root: '/',
        program: runningBinary(),
        addon: carriedAddon,
        manager: systemd(signal),
        random: systemRandom,
      };
    },
    roles: builtInRoles(cacheFolder(env)),
  };
  return run(argv, io);
}

/** `${XDG_CACHE_HOME:-~/.cache}/holdfast`: where the single binary unpacks what it cannot load from inside. */
function cacheFolder(env: NodeJS.ProcessEnv): string {
  return join(env['XDG_CACHE_HOME'] || join(env['HOME'] ?? homedir(), '.cache'), 'holdfast');
}

function outputOf(stream: NodeJS.WriteStream): Output {
  return {
    write: (text) => {
      stream.write(text);
    },
    get columns() {
      return stream.isTTY ? stream.columns : undefined;
    },
  };
}

/** Whether stderr goes to systemd's journal, as JOURNAL_STREAM says (systemd.exec(5)): its device and inode are those named. */
function isJournal(env: NodeJS.ProcessEnv): boolean {
  const stream = env['JOURNAL_STREAM'];
  if (stream === undefined) return false;
  const { dev, ino } = fstatSync(2);
  return stream === `${dev}:${ino}`;
}
