/**
 * What the systemd tests need: root on Debian, and the packages that make and boot a Debian of its own. Installs the
 * packages that are missing; anything else that is missing fails, in one line, never skips.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';

/** Package → a program of it that the tests call. */
const PROGRAMS = { debootstrap: '/usr/sbin/debootstrap', 'systemd-container': '/usr/bin/systemd-nspawn' };

const problem = whyNot();
if (problem !== undefined) {
  process.stderr.write(`Cannot run the systemd tests: ${problem}\n`);
  process.exit(1);
}
const missing = Object.entries(PROGRAMS).flatMap(([name, program]) => (existsSync(program) ? [] : [name]));
if (missing.length > 0) {
  process.stderr.write(`systemd tests: installing ${missing.join(' and ')} with apt-get\n`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const installed = ['update', 'install'].every((action) => {
    const argv = action === 'update' ? [action] : [action, '--yes', '--no-install-recommends', ...missing];
    return spawnSync('apt-get', ['-qq', ...argv], { env, stdio: ['ignore', 2, 2] }).status === 0;
  });
  if (!installed) {
    process.stderr.write(
      `Cannot run the systemd tests: apt-get failed, expected ${missing.join(' and ')} installed\n`,
    );
    process.exit(1);
  }
}

function whyNot(): string | undefined {
  const uid = process.getuid?.();
  if (uid !== 0) return `this is uid ${uid}, expected root`;
  try {
    if (/^ID=debian$/m.test(readFileSync('/etc/os-release', 'utf8'))) return undefined;
  } catch (error) {
    return `/etc/os-release cannot be read (${(error as Error).message}), expected Debian's`;
  }
  return 'this is not Debian, expected it: the tests make another one with its mirror and its tools';
}
