/**
 * wrk and etcd: from PATH, or else from Debian's archive. The packages are unpacked beside the run, not installed:
 * etcd-server would start a daemon and stay. What cannot be had is null, and its rows say "not measured".
 */
import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access, chmod, mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';

export interface Tools {
  readonly wrk: string | null;
  readonly etcd: string | null;
  readonly versions: Readonly<Record<string, string>>;
  /** Why one is missing. */
  readonly missing: readonly string[];
}

const run = promisify(execFile);

/** wrk's libraries come with it; etcd is static. */
const packages = { wrk: ['wrk', 'libluajit-5.1-2', 'libluajit-5.1-common'], etcd: ['etcd-server'] } as const;

export async function findTools(say: (text: string) => void): Promise<Tools> {
  const cache = join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'holdfast-bench');
  const missing: string[] = [];
  const find = async (name: keyof typeof packages) => {
    const there = (await onPath(name)) ?? (await executable(join(cache, name, 'bin', name)));
    if (there !== undefined) return there;
    try {
      say(`fetching ${packages[name].join(', ')} from Debian's archive into ${join(cache, name)}`);
      return await unpack(name, cache);
    } catch (error) {
      missing.push(`${name}: ${String((error as Error).message).split('\n')[0]}`);
      return null;
    }
  };
  const [wrk, etcd] = [await find('wrk'), await find('etcd')];
  return {
    wrk,
    etcd,
    missing,
    versions: { wrk: await versionOf(wrk, '--version'), etcd: await versionOf(etcd, '--version') },
  };
}

async function unpack(name: keyof typeof packages, cache: string): Promise<string> {
  if ((await onPath('apt-get')) === undefined)
    throw new Error('apt-get is not there, so this is not Debian; install it yourself');
  await mkdir(cache, { recursive: true });
  const work = await mkdtemp(join(cache, `.${name}-`));
  try {
    // apt's own user cannot write into root's cache; it says so and goes on.
    const options = { cwd: work, timeout: 120_000, env: { ...process.env, LC_ALL: 'C' } };
    if (process.getuid?.() === 0) await run('apt-get', ['update', '-q'], options);
    await run('apt-get', ['download', '-q', ...packages[name]], options);
    for (const file of (await readdir(work)).filter((one) => one.endsWith('.deb'))) {
      await run('dpkg-deb', ['-x', join(work, file), work], options);
      await rm(join(work, file));
    }
    // A script with the libraries' place in it, so that the tool is one path like any other.
    await mkdir(join(work, 'bin'));
    const final = join(cache, name);
    const script = join(work, 'bin', name);
    await writeFile(
      script,
      `#!/bin/sh\nLD_LIBRARY_PATH='${final}/usr/lib/x86_64-linux-gnu' exec '${final}/usr/bin/${name}' "$@"\n`,
    );
    await chmod(script, 0o755);
    await rm(final, { recursive: true, force: true });
    await rename(work, final);
    return join(final, 'bin', name);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function onPath(name: string): Promise<string | undefined> {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    const found = folder === '' ? undefined : await executable(join(folder, name));
    if (found !== undefined) return found;
  }
  return undefined;
}

async function executable(path: string): Promise<string | undefined> {
  return access(path, constants.X_OK).then(
    () => path,
    () => undefined,
  );
}

/** The first thing that looks like a version; wrk tells its own with exit code 1. */
async function versionOf(path: string | null, flag: string): Promise<string> {
  if (path === null) return 'not there';
  const { stdout, stderr } = await run(path, [flag]).catch((error: { stdout?: string; stderr?: string }) => ({
    stdout: error.stdout ?? '',
    stderr: error.stderr ?? '',
  }));
  return /\d+\.\d+[\w.+-]*/.exec(stdout + stderr)?.[0] ?? 'unknown';
}
