/**
 * The root file system of a small Debian, as this machine's own release and mirror have it. It takes 40 seconds to make,
 * so it is made once and kept; each machine gets a copy.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Only root writes there, unlike in /tmp, and whoever cleans it loses nothing. */
const CACHE = '/var/cache/holdfast-test';
const PACKAGES = ['systemd', 'systemd-sysv', 'dbus', 'libstdc++6'];
const MAKE_MS = 300_000;

/** What would start by itself and is nobody's business here: none of it is needed, and each costs the boot some time. */
const MASKED = [
  'apt-daily.timer',
  'apt-daily-upgrade.timer',
  'dpkg-db-backup.timer',
  'e2scrub_all.timer',
  'e2scrub_reap.service',
  'console-getty.service',
  'systemd-networkd.service',
  'systemd-resolved.service',
];

/** Copies the root file system to `root` in a new folder, which the caller removes with all that is in it. */
export async function copyDebianRoot(): Promise<string> {
  const source = await debianRoot();
  const copy = mkdtempSync(join(CACHE, 'machine-'));
  try {
    await run('cp', ['--archive', '--reflink=auto', source, join(copy, 'root')], { timeout: 60_000 });
  } catch (error) {
    rmSync(copy, { recursive: true, force: true });
    throw error;
  }
  return copy;
}

/** The one that is copied: what it is made from names its folder. */
async function debianRoot(): Promise<string> {
  const { uri, suite } = await mirror();
  const recipe = JSON.stringify([uri, suite, readFileSync(import.meta.filename, 'utf8')]);
  mkdirSync(CACHE, { mode: 0o700, recursive: true });
  const { uid, mode } = lstatSync(CACHE);
  assert(uid === 0 && (mode & 0o022) === 0, `${CACHE} is writable for others than root, remove it`);
  const folder = join(CACHE, createHash('sha256').update(recipe).digest('hex').slice(0, 16));
  if (existsSync(folder)) return folder;

  // Renamed when whole: one that was broken off is never taken for a root file system.
  const work = mkdtempSync(join(CACHE, 'making-'));
  try {
    const include = `--include=${PACKAGES.join(',')}`;
    await run('debootstrap', ['--variant=minbase', include, suite, work, uri], {
      timeout: MAKE_MS,
      maxBuffer: 16 * 1024 * 1024,
      env: { PATH: process.env['PATH'], ...(await proxy()) },
    }).catch((error: Error & { stdout?: string }) => {
      const tail = (error.stdout ?? '').split('\n').slice(-10).join('\n');
      throw new Error(`Cannot make a Debian root: debootstrap failed, see its last lines\n${tail}`, {
        cause: error,
      });
    });
    await run('systemctl', [`--root=${work}`, 'mask', ...MASKED]);
    // Of a new temporary folder it is 0700, and this is the machine's `/`.
    chmodSync(work, 0o755);
    // Downloaded packages and their lists: half of the size, and copied each time.
    rmSync(join(work, 'var/cache/apt'), { recursive: true });
    rmSync(join(work, 'var/lib/apt/lists'), { recursive: true });
    renameSync(work, folder);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return folder;
}

/** Where this machine gets its own Debian from. */
async function mirror(): Promise<{ uri: string; suite: string }> {
  const suite = /^VERSION_CODENAME=(\w+)$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1];
  assert(suite !== undefined, '/etc/os-release has no VERSION_CODENAME');
  const { stdout } = await run('apt-get', [
    'indextargets',
    '--format',
    '$(REPO_URI) $(CODENAME) $(COMPONENT)',
    'Created-By: Packages',
  ]);
  const lines = stdout.split('\n').map((line) => line.split(' '));
  const uri = lines.find(([, codename, component]) => codename === suite && component === 'main')?.[0];
  assert(uri !== undefined, `apt has no source of ${suite} main, expected one in /etc/apt`);
  return { uri, suite };
}

/** apt's own proxy, for the tools that look into the environment. */
async function proxy(): Promise<Record<string, string>> {
  const { stdout } = await run('apt-config', ['dump', '--format', '%v%n', 'Acquire::http::Proxy']);
  const inherited = Object.entries(process.env).filter(([name]) => /^(https?|no)_proxy$/i.test(name));
  const own = stdout.trim() === '' ? {} : { http_proxy: stdout.trim() };
  return { ...Object.fromEntries(inherited.map(([name, value]) => [name, value ?? ''])), ...own };
}
