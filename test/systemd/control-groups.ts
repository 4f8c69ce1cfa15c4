/**
 * The control groups that a machine without a systemd around it lives in. systemd-nspawn leaves the group of whoever
 * starts it as it is, and gives no controller of version 1 away: so each machine gets a group of its own in every
 * hierarchy, and its init may write below it. (Version 1 is what some virtual machines for tests still have.)
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { until } from '../helpers/until.ts';

/** What systemd limits units by. The others would need more than a new group, such as a choice of processors. */
const WANTED = ['', 'name=systemd', 'cpu', 'cpuacct', 'cpu,cpuacct', 'memory', 'pids'];

export interface ControlGroups {
  /** Folders to write the process id into, before systemd-nspawn begins. */
  readonly folders: readonly string[];
  /** Where the machine finds the version 1 controllers, mounted read-only. */
  readonly controllers: readonly string[];
  /** Removes the groups, once the last process in them is gone. */
  remove(): Promise<void>;
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
    async remove() {
      // A process is in its group for a moment longer than anybody can see it.
      for (const folder of folders) await until(() => isRemoved(folder), `${folder} is still in use`);
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
function isRemoved(folder: string): boolean {
  const entries = readdirSync(folder, { withFileTypes: true });
  const isEmpty = entries.every((entry) => !entry.isDirectory() || isRemoved(join(folder, entry.name)));
  if (!isEmpty) return false;
  try {
    rmdirSync(folder);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EBUSY') return false;
    throw error;
  }
}
