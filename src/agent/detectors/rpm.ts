/**
 * Packages of rpm. The runner asks rpm (domain/rpm.ts says why); the agent looks only whether the database has changed,
 * which costs three `stat`, and asks when it has.
 */
import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import { AppError, isAppError } from '../../domain/error.ts';
import type { Component } from '../../domain/inventory.ts';
import { rpmComponents } from '../../domain/rpm.ts';
import type { StepResult } from '../../domain/step.ts';
import { firstLine, outcomeOf, type Steps } from '../checks/step.ts';
import type { Detector } from './detector.ts';
import { settled } from './settle.ts';

export interface RpmOptions {
  readonly clock: Clock;
  readonly steps: Pick<Steps, 'run'>;
  /** Default: where distributions have the database, one being a link to the other where both are there. */
  readonly folders?: readonly string[];
  /** Default 30 s, as of dpkg. */
  readonly everyMs?: number;
}

const standardFolders = ['/var/lib/rpm', '/usr/lib/sysimage/rpm'];
/** SQLite with its log, Berkeley DB, ndb. What rpm makes only to lock it changes with each question, and is not here. */
const files = ['rpmdb.sqlite', 'rpmdb.sqlite-wal', 'Packages', 'Packages.db'];

/** Whether this host has a database of rpm. The program alone is none: Debian has it for building packages. */
export function isRpmThere(folders: readonly string[] = standardFolders): boolean {
  return folders.some((folder) => files.some((file) => existsSync(join(folder, file))));
}

/** Throws when rpm cannot be asked, fails or says too much: then what was found before stays. */
export function rpmDetector(options: RpmOptions): Detector {
  const { clock, steps, folders = standardFolders, everyMs = 30_000 } = options;
  let last: { readonly print: string; readonly components: readonly Component[] } | undefined;
  return {
    name: 'rpm',
    everyMs,
    async detect({ signal }) {
      const found = await fingerprint(folders);
      if (found === null) {
        last = undefined;
        return null;
      }
      if (found === last?.print) return last.components;
      if (last !== undefined) await settled(found, () => fingerprint(folders), { clock, signal });
      // Before the question: what is installed while it is answered is asked for again.
      const print = (await fingerprint(folders)) ?? '';
      const answer = await ask(steps, signal);
      if (answer === null) return null;
      last = { print, components: rpmComponents(answer) };
      return last.components;
    },
  };
}

/** Null: there is a database and no rpm, so nothing of rpm is in use. */
async function ask(steps: Pick<Steps, 'run'>, signal: AbortSignal): Promise<string | null> {
  let result: StepResult;
  try {
    result = await steps.run({ kind: 'rpm' }, { signal });
  } catch (error) {
    if (isAppError(error, 'unprocessable') && error.details['reason'] === 'no-program') return null;
    throw error;
  }
  const outcome = outcomeOf(result);
  if (outcome.kind !== 'passed')
    throw refused(outcome.detail, firstLine({ stdout: '', stderr: result.stderr }));
  if (result.droppedBytes > 0)
    throw refused(`rpm says ${result.droppedBytes} bytes more than are kept`, null);
  // rpm tells of a broken database and exits with 0, having listed what it could read, or nothing.
  if (/^error:/m.test(result.stderr))
    throw refused('rpm reports errors', firstLine({ stdout: '', stderr: result.stderr }));
  return result.stdout;
}

function refused(why: string, output: string | null): AppError {
  return new AppError('unprocessable', `Cannot tell what rpm has installed: ${why}`, { details: { output } });
}

async function fingerprint(folders: readonly string[]): Promise<string | null> {
  const prints: string[] = [];
  for (const folder of folders) {
    for (const file of files) {
      const path = join(folder, file);
      const found = await stat(path, { bigint: true }).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return null;
        throw error;
      });
      // An empty log is one that a reader has made.
      if (found !== null && (found.size > 0n || !file.endsWith('-wal')))
        prints.push([file, found.ino, found.size, found.mtimeNs].join('.'));
    }
  }
  return prints.length === 0 ? null : prints.join();
}
