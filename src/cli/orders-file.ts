/**
 * What local root has written down for the runner: checks, detectors and allow of agent.yaml, read again when the file
 * has changed. It says what the runner starts, so it is believed only while nobody but root, or whoever the runner is,
 * can change it.
 */
import { constants, type Stats } from 'node:fs';
import { open, realpath, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { reasonOf } from '../base/atomic-file.ts';
import { limits } from '../base/limits.ts';
import { AppError } from '../domain/error.ts';
import type { Duties } from '../domain/step.ts';
import { hostOrders, Settings } from './config.ts';
import { readConfigText } from './config-file.ts';
import { ConfigurationError } from './exit.ts';

export class OrdersFile {
  readonly #file: string;
  readonly #role: 'agent' | 'up';
  readonly #uid: number;
  #read: { readonly version: string; readonly duties: Duties } | null = null;

  /** `uid`: who may have written it besides root. */
  constructor(options: { readonly file: string; readonly role: 'agent' | 'up'; readonly uid: number }) {
    this.#file = resolve(options.file);
    this.#role = options.role;
    this.#uid = options.uid;
  }

  /** As the file is now. Throws `unprocessable` saying what is wrong with it, and with which line. */
  async read(): Promise<Duties> {
    try {
      return await this.check();
    } catch (error) {
      if (!(error instanceof ConfigurationError)) throw error;
      throw new AppError('unprocessable', error.message, { cause: error });
    }
  }

  /** As `read`; throws `ConfigurationError` (78). */
  async check(): Promise<Duties> {
    try {
      return await this.#readFile();
    } catch (error) {
      if (error instanceof ConfigurationError || error instanceof AppError) throw error;
      throw new ConfigurationError(`Cannot read ${this.#file}: ${reasonOf(error)}; check --config`, {
        cause: error,
      });
    }
  }

  async #readFile(): Promise<Duties> {
    await this.#requireFolders();
    // Without O_NONBLOCK, a FIFO in this place would block the open until someone writes.
    const file = await open(this.#file, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const found = await file.stat();
      if (!found.isFile()) throw this.#refusal('it is not a regular file');
      this.#requireOurs(this.#file, found);
      const version = [found.dev, found.ino, found.size, found.mtimeMs, found.ctimeMs].join(' ');
      if (this.#read?.version === version) return this.#read.duties;
      if (found.size > limits.bodyBytes)
        throw this.#refusal(`it is larger than ${limits.bodyBytes / 1_048_576} MiB`);
      const text = (await file.readFile()).toString('utf8');
      const given = await readConfigText(text, { file: this.#file, role: this.#role });
      const duties = hostOrders(new Settings(this.#role, given));
      this.#read = { version, duties };
      return duties;
    } finally {
      await file.close();
    }
  }

  /** Whoever can write to a folder above can put another file in its place, also above where a link leads. */
  async #requireFolders(): Promise<void> {
    const places = new Set([this.#file, await realpath(this.#file)]);
    for (const place of places) {
      for (let folder = dirname(place); ; folder = dirname(folder)) {
        this.#requireOurs(folder, await stat(folder));
        if (folder === dirname(folder)) break;
      }
    }
  }

  #requireOurs(path: string, { uid, mode }: Stats): void {
    if (uid !== 0 && uid !== this.#uid)
      throw this.#refusal(
        `${path} belongs to uid ${uid}, who could have the runner start anything; run chown root ${path}`,
      );
    // In a sticky folder such as /tmp, nobody takes away what is another's.
    if ((mode & 0o022) !== 0 && (mode & constants.S_IFMT & constants.S_IFDIR) !== 0 && (mode & 0o1000) !== 0)
      return;
    if ((mode & 0o022) !== 0)
      throw this.#refusal(
        `others can write to ${path}, and could have the runner start anything; run chmod go-w ${path}`,
      );
  }

  #refusal(why: string): ConfigurationError {
    return new ConfigurationError(`Cannot use ${this.#file} for the runner: ${why}`);
  }
}
