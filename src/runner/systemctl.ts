/** systemd by its own commands, as an administrator gives them: for `holdfast install`. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';

/** How a command ended; `code` 127 when it is not there. */
export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ServiceManager {
  /** Whether systemd runs this machine: sd_booted(3). */
  readonly runs: boolean;
  /** `systemctl` with these words. It waits until what it starts is ready. */
  control(words: readonly string[]): Promise<CommandResult>;
  /** Makes users and groups that are missing, from lines of sysusers.d(5). */
  makeUsers(lines: string): Promise<CommandResult>;
  /** The last lines that a unit wrote, without times. */
  journal(unit: string, lines: number): Promise<CommandResult>;
}

/** That of this machine. `signal` ends a command that is under way. */
export function systemd(signal: AbortSignal): ServiceManager {
  const run = (program: string, words: readonly string[], input = '') =>
    command(program, words, { input, signal });
  return {
    runs: existsSync('/run/systemd/system'),
    control: (words) => run('systemctl', words),
    makeUsers: (lines) => run('systemd-sysusers', ['-'], lines),
    journal: (unit, lines) => run('journalctl', ['--no-pager', '-o', 'cat', '-n', String(lines), '-u', unit]),
  };
}

function command(
  program: string,
  words: readonly string[],
  { input, signal }: { input: string; signal: AbortSignal },
): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    // Nothing of whoever calls: a variable such as SYSTEMD_OFFLINE, or a secret.
    const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C.UTF-8', SYSTEMD_COLORS: '0' };
    const child = execFile(program, words, { env, signal }, (error, stdout, stderr) => {
      if (signal.aborted) return reject(signal.reason);
      if (error === null) return resolve({ code: 0, stdout, stderr });
      if (error.code === 'ENOENT')
        return resolve({ code: 127, stdout, stderr: `${program} is not on this machine` });
      resolve({
        code: typeof error.code === 'number' ? error.code : 1,
        stdout,
        stderr: stderr || error.message,
      });
    });
    // One that ends without reading has said why.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(input);
  });
}
