/** What a machine, a process and a data directory take, as numbers for a doctor report. */
import { type Dirent, lstatSync, readdirSync, statfsSync } from 'node:fs';
import {
  arch,
  availableParallelism,
  freemem,
  loadavg,
  release,
  type as systemName,
  totalmem,
  uptime,
} from 'node:os';
import { join } from 'node:path';

export interface MachineResources {
  readonly os: string;
  readonly kernel: string;
  readonly architecture: string;
  readonly cpus: number;
  /** Of the last 1, 5 and 15 minutes. */
  readonly load: readonly number[];
  readonly memoryBytes: number;
  readonly memoryFreeBytes: number;
  readonly uptimeMs: number;
}

export interface ProcessResources {
  readonly pid: number;
  readonly node: string;
  readonly residentBytes: number;
  readonly heapUsedBytes: number;
  readonly cpuMs: number;
  /** Null where the system does not say. */
  readonly openFiles: number | null;
}

export interface FolderResources {
  readonly path: string;
  /** Of all files in it and below, as far as they could be seen. */
  readonly bytes: number;
  readonly files: Readonly<Record<string, number>>;
  /** Of its disk; null where the system does not say. */
  readonly diskBytes: number | null;
  readonly diskFreeBytes: number | null;
}

export function machineResources(): MachineResources {
  return {
    os: systemName(),
    kernel: release(),
    architecture: arch(),
    cpus: availableParallelism(),
    load: loadavg().map((value) => Math.round(value * 100) / 100),
    memoryBytes: totalmem(),
    memoryFreeBytes: freemem(),
    uptimeMs: Math.round(uptime() * 1_000),
  };
}

/** Of this process. */
export function processResources(): ProcessResources {
  const { rss, heapUsed } = process.memoryUsage();
  const { user, system } = process.cpuUsage();
  return {
    pid: process.pid,
    node: process.versions.node,
    residentBytes: rss,
    heapUsedBytes: heapUsed,
    cpuMs: Math.round((user + system) / 1_000),
    openFiles: openFiles(),
  };
}

/** Sizes by name; follows no link and opens no file. Throws what `readdir` of the folder itself throws. */
export function folderResources(path: string): FolderResources {
  const files: Record<string, number> = {};
  let bytes = 0;
  const look = (folder: string, below: string, entries: readonly Dirent[]): void => {
    for (const entry of entries) {
      const name = `${below}${entry.name}`;
      const at = join(folder, entry.name);
      if (entry.isDirectory()) {
        if (below.split('/').length <= depthMax) look(at, `${name}/`, entriesOf(at));
        continue;
      }
      const size = lstatSync(at, { throwIfNoEntry: false })?.size ?? 0;
      bytes += size;
      if (Object.keys(files).length < filesMax) files[name] = size;
    }
  };
  look(path, '', readdirSync(path, { withFileTypes: true }));
  return { path, bytes, files, ...diskOf(path) };
}

const depthMax = 3;
const filesMax = 50;

function entriesOf(folder: string): readonly Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch {
    // A folder that is not ours to see counts for nothing, as its files do.
    return [];
  }
}

function diskOf(path: string): Pick<FolderResources, 'diskBytes' | 'diskFreeBytes'> {
  try {
    const { bsize, blocks, bavail } = statfsSync(path);
    return { diskBytes: bsize * blocks, diskFreeBytes: bsize * bavail };
  } catch {
    return { diskBytes: null, diskFreeBytes: null };
  }
}

function openFiles(): number | null {
  try {
    return readdirSync('/proc/self/fd').length;
  } catch {
    return null;
  }
}
