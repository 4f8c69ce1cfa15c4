/**
 * The control groups that a machine without a systemd around it lives in. systemd-nspawn leaves the group of whoever
 * starts it as it is, and gives no controller of version 1 away: so each machine gets a group of its own in every
 * hierarchy, and its init may write below it. (Version 1 is what some virtual machines for tests still have.)
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';

/** What systemd limits units by. The others would need more than a new group, such as a choice of processors. */
const WANTED = ['', 'name=systemd', 'cpu', 'cpuacct', 'cpu,cpuacct', 'memory', 'pids'];

export interface ControlGroups {
  /** Folders to write the process id into, before systemd-nspawn begins. */
  readonly folders: readonly string[];
  /** Where the machine finds the version 1 controllers, mounted read-only. */
  readonly controllers: readonly string[];
  /** Removes the groups. Only when every process in them is gone. */
  remove(): void;
}

export function makeControlGroups(name: string): ControlGroups {
  const lines = readFileSync('/proc/self/cgroup', 'utf8').trim().split('\n');
  const groups = lines.flatMap((line) => {
    const [, controllers = '', path = '/'] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    return WANTED.includes(controllers) ? [{ mount: mountOf(controllers), path, controllers }] : [];
  });
  const folders = groups.map(({ mount, path }) => join(mount, path, name));
  for (const folder of folders) mkdirSync(folder);
  return {
    folders,
    controllers: groups.flatMap(({ mount, controllers }) =>
      controllers === '' || controllers.startsWith('name=') ? [] : [mount],
    ),
    remove() {
      for (const folder of folders) removeGroup(folder);
    },
  };
}

/** Whether the machine's systemd counts memory itself (version 2), and so knows what ran out of it. */
export function isUnified(): boolean {
  return existsSync('/sys/fs/cgroup/cgroup.controllers');
}

function mountOf(controllers: string): string {
  if (controllers === '') return isUnified() ? '/sys/fs/cgroup' : '/sys/fs/cgroup/unified';
  return join('/sys/fs/cgroup', controllers.replace('name=', ''));
}

/** Control groups are removed by their folders alone; their files go with them. */
function removeGroup(folder: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) removeGroup(join(folder, entry.name));
  }
  rmdirSync(folder);
}
