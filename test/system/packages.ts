/** Packages of this machine, for tests that need a real one: installed and removed by apt, as root. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';

/** Installs it where it is missing, and leaves it there: later runs need it again. */
export function requirePackage(name: string): void {
  if (installedVersion(name) !== null) return;
  apt('update');
  apt('install', name);
}

/** The first of these that is not installed, and can be. */
export function freshPackage(names: readonly string[]): string {
  apt('update');
  const name = names.find((one) => installedVersion(one) === null);
  assert.ok(name, `expected one of ${names.join(', ')} not to be installed`);
  return name;
}

export function installPackage(name: string): void {
  apt('install', name);
}

export function removePackage(name: string): void {
  apt('purge', name);
}

/** Null: it is not installed. */
export function installedVersion(name: string): string | null {
  const { stdout } = spawnSync('dpkg', ['-s', name], { encoding: 'utf8' });
  if (!/^Status: .* installed$/m.test(stdout)) return null;
  const version = /^Version: (.+)$/m.exec(stdout)?.[1];
  return version ?? null;
}

function apt(...args: string[]): void {
  const { status, stderr, error } = spawnSync(
    'apt-get',
    ['-qq', '-y', '--no-install-recommends', '-o', 'DPkg::Lock::Timeout=120', ...args],
    {
      encoding: 'utf8',
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      timeout: 180_000,
    },
  );
  assert.equal(status, 0, `apt-get ${args.join(' ')}: ${error?.message ?? stderr}`);
}
