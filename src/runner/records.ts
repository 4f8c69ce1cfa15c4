/**
 * What the runner knows of its steps over its own death: one file each, written before the step starts and removed when
 * its result was handed over. The commands of placements are written durably; looks are not, for these say nothing any
 * more when the machine was restarted, and come every few seconds.
 */
import { mkdirSync, readdirSync } from 'node:fs';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { removeFile, writeFileAtomic } from '../base/atomic-file.ts';
import type { Logger } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import type { StepResult } from '../domain/step.ts';
import { readResult } from '../wire/runner.ts';

export interface StepRecord {
  readonly name: string;
  /** For people. */
  readonly title: string;
  /** Of what it does: another result is none of it. */
  readonly digest: string;
  /** A result may be fetched long after, and its record is on the disk for good before anything goes on. */
  readonly isDurable: boolean;
  readonly startedAtMs: number;
  /** Null while it runs. */
  readonly ended: { readonly atMs: number; readonly result: StepResult } | null;
  /** It runs or its result waits; false: only the crashes are remembered. */
  readonly isOpen: boolean;
  /** How often it was found unfinished after the runner had died, since it last ended under the runner that began it. */
  readonly crashes: number;
  readonly lastCrashMs: number;
}

/** The folder of the records. What is asked for one name happens in the order in which it is asked. */
export class StepRecords {
  readonly #folder: string;
  readonly #random: Random;
  /** By name: the last of what is under way. */
  readonly #last = new Map<string, Promise<void>>();

  private constructor(folder: string, random: Random) {
    this.#folder = folder;
    this.#random = random;
  }

  /** Opens the folder and reads what is in it. A file that is no record is told of and removed. */
  static async open(options: {
    readonly folder: string;
    readonly random: Random;
    readonly logger: Logger;
  }): Promise<{ readonly records: StepRecords; readonly found: readonly StepRecord[] }> {
    const { folder, random, logger } = options;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const found: StepRecord[] = [];
    for (const file of readdirSync(folder)) {
      const path = join(folder, file);
      try {
        const record = readRecord(JSON.parse(await readFile(path, 'utf8')));
        if (`${record.name}.json` !== file) throw new Error('it is the record of another step');
        found.push(record);
      } catch (error) {
        // Half of a temporary file, or what a power cut has left of a record that was not durable.
        logger.warn({ path, err: error }, 'a record of a step cannot be read, removing it');
        await rm(path, { force: true, recursive: true });
      }
    }
    return { records: new StepRecords(folder, random), found };
  }

  /** After any end of the runner it is the one before or this one, whole. */
  write(record: StepRecord): Promise<void> {
    return this.#inOrder(record.name, () => this.#write(record));
  }

  remove({ name, isDurable }: Pick<StepRecord, 'name' | 'isDurable'>): Promise<void> {
    const path = this.#pathOf(name);
    return this.#inOrder(name, () => (isDurable ? removeFile(path) : rm(path, { force: true })));
  }

  #inOrder(name: string, work: () => Promise<void>): Promise<void> {
    const before = this.#last.get(name) ?? Promise.resolve();
    // A failure is told to whoever asked for that, and not to the next one.
    const done = before.then(work, work);
    this.#last.set(name, done);
    const forget = () => {
      if (this.#last.get(name) === done) this.#last.delete(name);
    };
    done.then(forget, forget);
    return done;
  }

  async #write(record: StepRecord): Promise<void> {
    const path = this.#pathOf(record.name);
    const text = JSON.stringify({ v: 1, ...record });
    if (record.isDurable) {
      await writeFileAtomic(path, text, { mode: 0o600, random: this.#random });
      return;
    }
    const temporary = `${path}.tmp`;
    await writeFile(temporary, text, { mode: 0o600 });
    await rename(temporary, path);
  }

  #pathOf(name: string): string {
    return join(this.#folder, `${name}.json`);
  }
}

function readRecord(value: unknown): StepRecord {
  const { v, ...record } = value as Record<string, unknown>;
  const isRecord =
    v === 1 &&
    ['name', 'title', 'digest'].every((key) => typeof record[key] === 'string') &&
    ['startedAtMs', 'crashes', 'lastCrashMs'].every((key) => Number.isFinite(record[key])) &&
    ['isDurable', 'isOpen'].every((key) => typeof record[key] === 'boolean');
  if (!isRecord) throw new Error('it has not the members of a record');
  const { ended } = record as unknown as StepRecord;
  if (ended !== null) readResult(ended.result);
  return record as unknown as StepRecord;
}
