/**
 * What local root has written down for the runner, read again when the file has changed: checks, detectors and allow of
 * agent.yaml, and the commands of sinks of registry.yaml. It says what the runner starts, so it is believed only while nobody but root, or whoever the runner is,
 * can change it.
 */
import { constants, type Stats } from 'node:fs';
import { lstat, open, readlink } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { reasonOf } from '../base/atomic-file.ts';
import { limits } from '../base/limits.ts';
import { AppError } from '../domain/error.ts';
import type { SinkSpec } from '../domain/sinks.ts';
import type { Duties } from '../domain/step.ts';
import { hostOrders, Settings } from './config.ts';
import { readConfigText } from './config-file.ts';
import { ConfigurationError } from './exit.ts';

/** As the kernel has it. */
const linksMax = 40;

/** Of agent.yaml, or the file of `up`. */
export function dutiesOf(given: Settings): Duties {
  return hostOrders(given);
}

/** Of registry.yaml, or the file of `up`. */
export function sinksOf(given: Settings): readonly SinkSpec[] {
  return given.get('notify')?.sinks ?? [];
}

export class OrdersFile<Orders> {
  readonly #file: string;
  readonly #role: 'agent' | 'registry' | 'up';
  readonly #uid: number;
  readonly #ordersOf: (given: Settings) => Orders;
  #read: { readonly version: string; readonly orders: Orders } | null = null;

  /** `uid`: who may have written it besides root. */
  constructor(options: {
    readonly file: string;
    readonly role: 'agent' | 'registry' | 'up';
    readonly uid: number;
    readonly ordersOf: (given: Settings) => Orders;
  }) {
    this.#file = resolve(options.file);
    this.#role = options.role;
    this.#uid = options.uid;
    this.#ordersOf = options.ordersOf;
  }

  /** As the file is now. Throws `unprocessable` saying what is wrong with it, and with which line. */
  async read(): Promise<Orders> {
    try {
      return await this.check();
    } catch (error) {
      if (!(error instanceof ConfigurationError)) throw error;
      throw new AppError('unprocessable', error.message, { cause: error });
    }
  }

  /** As `read`; throws `ConfigurationError` (78). */
  async check(): Promise<Orders> {
    try {
      return await this.#readFile();
    } catch (error) {
      if (error instanceof ConfigurationError || error instanceof AppError) throw error;
      throw new ConfigurationError(`Cannot read ${this.#file}: ${reasonOf(error)}; check --config`, {
        cause: error,
      });
    }
  }

  async #readFile(): Promise<Orders> {
    await this.#requireWay();
    // Without O_NONBLOCK, a FIFO in this place would block the open until someone writes.
    const file = await open(this.#file, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const found = await file.stat();
      if (!found.isFile()) throw this.#refusal('it is not a regular file');
      this.#requireOurs(this.#file, found);
      const version = [found.dev, found.ino, found.size, found.mtimeMs, found.ctimeMs].join(' ');
      if (this.#read?.version === version) return this.#read.orders;
      if (found.size > limits.bodyBytes)
        throw this.#refusal(`it is larger than ${limits.bodyBytes / 1_048_576} MiB`);
      const text = (await file.readFile()).toString('utf8');
      const given = await readConfigText(text, { file: this.#file, role: this.#role });
      const orders = this.#ordersOf(new Settings(this.#role, given));
      this.#read = { version, orders };
      return orders;
    } finally {
      await file.close();
    }
  }

  /**
   * Whoever can write to a folder on the way can put another file in its place, and so can who owns a link in one like
   * /tmp. The way is gone as the kernel goes it: also through folders that only a link leads through.
   */
  async #requireWay(): Promise<void> {
    const parts = this.#file.split('/');
    let [folder, links] = ['/', 0];
    this.#requireOurs(folder, await lstat(folder));
    for (let part = parts.shift(); part !== undefined; part = parts.shift()) {
      if (part === '..') folder = dirname(folder);
      if (part === '' || part === '.' || part === '..') continue;
      const place = join(folder, part);
      const found = await lstat(place);
      if (found.isSymbolicLink()) {
        links += 1;
        if (links > linksMax) throw this.#refusal(`more than ${linksMax} links lead to it`);
        this.#requireOwner(place, found, 'chown -h root');
        const target = await readlink(place);
        if (target.startsWith('/')) folder = '/';
        parts.unshift(...target.split('/'));
      } else if (found.isDirectory()) {
        this.#requireOurs(place, found);
        folder = place;
      }
    }
  }

  #requireOwner(path: string, { uid }: Stats, cure: string): void {
    if (uid === 0 || uid === this.#uid) return;
    throw this.#refusal(
      `${path} belongs to uid ${uid}, who could have the runner start anything; run ${cure} ${path}`,
    );
  }

  #requireOurs(path: string, found: Stats): void {
    const { mode } = found;
    this.#requireOwner(path, found, 'chown root');
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
