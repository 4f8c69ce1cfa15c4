/** Files of Debian's packages, for the system tests. */
import { execFileSync } from 'node:child_process';
import { existsSync, globSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { tempFolder } from './temp.ts';

/**
 * Downloads the packages and unpacks them into one folder, which is removed in the end: installing some of them would
 * start a server or register an interpreter on this machine.
 */
export function unpackPackages(t: { after(fn: () => void): void }, names: readonly string[]): string {
  const folder = tempFolder(t);
  const options = {
    cwd: folder,
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    stdio: 'pipe',
  } as const;
  execFileSync('apt-get', ['-qq', 'update'], options);
  execFileSync('apt-get', ['-qq', '-o', 'APT::Sandbox::User=root', 'download', ...names], options);
  for (const deb of globSync('*.deb', { cwd: folder })) {
    execFileSync('dpkg-deb', ['-x', deb, '.'], options);
    rmSync(join(folder, deb));
  }
  return folder;
}

/** Installs the packages that are missing: only such as start and register nothing. */
export function installPackages(names: readonly string[]): void {
  const missing = names.filter((name) => !existsSync(`/var/lib/dpkg/info/${name}.list`));
  if (missing.length === 0) return;
  const options = { env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }, stdio: 'pipe' } as const;
  execFileSync('apt-get', ['-qq', 'update'], options);
  execFileSync('apt-get', ['-qq', 'install', '--yes', '--no-install-recommends', ...missing], options);
}
