/** What the agent tells of the machine that it runs on. */
import { createHmac } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Random } from '../base/random.ts';

export interface MachinePaths {
  readonly machineId: string;
  readonly bootId: string;
}

export const linuxPaths: MachinePaths = {
  machineId: '/etc/machine-id',
  bootId: '/proc/sys/kernel/random/boot_id',
};

/**
 * An id of this installation that says nothing else: machine-id(5) is confidential, so other programs of the machine
 * must not be able to recognise it in ours. Keyed with the machine id, as sd_id128_get_machine_app_specific(3) does.
 * Null where the machine has none (containers, first boot): then the caller mints one and keeps it.
 */
export async function readMachineId(paths: MachinePaths): Promise<string | null> {
  const text = (await readOrNull(paths.machineId))?.trim() ?? '';
  if (!/^[0-9a-f]{32}$/.test(text)) return null;
  return createHmac('sha256', Buffer.from(text, 'hex'))
    .update('holdfast machine 1')
    .digest('hex')
    .slice(0, 32);
}

/** Of the same form as `readMachineId`. */
export function mintMachineId(random: Random): string {
  return Buffer.from(random.bytes(16)).toString('hex');
}

/** Changes with every boot. Where the kernel does not tell, with every start of the agent. */
export async function readBootId(paths: MachinePaths, random: Random): Promise<string> {
  const text = (await readOrNull(paths.bootId))?.trim() ?? '';
  return /^[0-9a-f-]{32,36}$/.test(text) ? text : Buffer.from(random.bytes(16)).toString('hex');
}

async function readOrNull(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    return null;
  }
}
