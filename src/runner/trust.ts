/**
 * Whose targets the runner believes. The agent names the host and the registry's keys once; from then on only a target
 * that is signed by a key of these names others. So an agent that somebody has taken over cannot bring in a registry of
 * its own: only local root can, by removing the file.
 */
import { readFile } from 'node:fs/promises';
import { writeFileAtomic } from '../base/atomic-file.ts';
import { Gate } from '../base/gate.ts';
import type { Random } from '../base/random.ts';
import { parseInstant } from '../base/time.ts';
import { AppError } from '../domain/error.ts';
import type { SignedTarget, TargetDocument } from '../domain/target.ts';
import { decideTarget } from '../domain/target.ts';
import { isConsistentKey, type TrustKey } from '../domain/trust.ts';

export interface Pin {
  readonly hostId: string;
  readonly keys: readonly TrustKey[];
  /** Of the latest target that was believed; null before the first. */
  readonly version: { readonly epoch: number; readonly serial: number } | null;
  /** The latest instant at which a target was made, as far as we have seen: it is not earlier now. */
  readonly issuedAtMs: number;
}

export class RunnerTrust {
  readonly #file: string;
  readonly #random: Random;
  /** One change at a time: each goes on from the one before, and none back. */
  readonly #turn = new Gate(1);
  #pin: Pin | null;

  private constructor(file: string, random: Random, pin: Pin | null) {
    this.#file = file;
    this.#random = random;
    this.#pin = pin;
  }

  /** Throws when the file is there and cannot be read: to begin anew would let anybody in. */
  static async open(options: { readonly file: string; readonly random: Random }): Promise<RunnerTrust> {
    const { file, random } = options;
    return new RunnerTrust(file, random, await readPin(file));
  }

  get pin(): Pin | null {
    return this.#pin;
  }

  /** Pins once. The same again is no change; `forbidden` for another, `bad-request` for keys that are none. */
  name(hostId: string, keys: readonly TrustKey[]): Promise<void> {
    return this.#turn.through(() => this.#name(hostId, keys));
  }

  async #name(hostId: string, keys: readonly TrustKey[]): Promise<void> {
    const wrong = keys.findIndex((key) => !isConsistentKey(key));
    if (wrong !== -1)
      throw new AppError('bad-request', `Cannot believe keys/${wrong}: it is no signing key`, {
        field: `keys/${wrong}`,
      });
    if (this.#pin === null) {
      await this.#write({ hostId, keys, version: null, issuedAtMs: 0 });
      return;
    }
    const known = this.#pin;
    // An agent that joined again at the same registry may know fewer or more of its keys than a target has told since.
    if (known.hostId === hostId && keys.some(({ key }) => known.keys.some((one) => one.key === key))) return;
    throw new AppError(
      'forbidden',
      `Cannot believe another registry: this runner belongs to host ${known.hostId}; if the host has joined anew, remove ${this.#file} as root and restart the runner`,
      { details: { reason: 'pinned' } },
    );
  }

  /** The document of a target, when it is to be believed; remembers it. `forbidden` saying why not. */
  accept(
    { body, signature }: Pick<SignedTarget, 'body' | 'signature'>,
    registryNowMs: number | null,
  ): Promise<TargetDocument> {
    return this.#turn.through(() => this.#accept({ body, signature }, registryNowMs));
  }

  async #accept(
    { body, signature }: Pick<SignedTarget, 'body' | 'signature'>,
    registryNowMs: number | null,
  ): Promise<TargetDocument> {
    const pin = this.#pin;
    if (pin === null)
      throw new AppError(
        'forbidden',
        'Cannot run a placement: nobody has told the runner whose targets it is to believe',
        {
          details: { reason: 'no-trust' },
        },
      );
    const { targetReader } = await import('../wire/target-reader.ts');
    const decision = decideTarget(
      pin,
      { body: Buffer.from(body), signature },
      { registryNowMs: Math.max(registryNowMs ?? 0, pin.issuedAtMs), read: await targetReader() },
    );
    if (!decision.accepted)
      throw new AppError('forbidden', decision.detail, { details: { reason: decision.problem } });
    const { document } = decision;
    const { epoch, serial } = document;
    const next: Pin = {
      hostId: pin.hostId,
      keys: document.settings.trust.keys,
      version: { epoch, serial },
      issuedAtMs: Math.max(pin.issuedAtMs, parseInstant(document.issuedAt) ?? 0),
    };
    if (JSON.stringify(next) !== JSON.stringify(pin)) await this.#write(next);
    return document;
  }

  async #write(pin: Pin): Promise<void> {
    await writeFileAtomic(this.#file, `${JSON.stringify({ v: 1, ...pin })}\n`, {
      mode: 0o600,
      random: this.#random,
    });
    this.#pin = pin;
  }
}

async function readPin(file: string): Promise<Pin | null> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  try {
    const { v, ...pin } = JSON.parse(text) as Pin & { v: unknown };
    if (v !== 1 || typeof pin.hostId !== 'string' || !pin.keys.every(isConsistentKey))
      throw new Error('it has not the members of one');
    if (pin.keys.length === 0 || !Number.isFinite(pin.issuedAtMs)) throw new Error('it has no keys');
    return pin;
  } catch (error) {
    throw new AppError(
      'internal',
      `Cannot read ${file}, which says whose targets the runner believes: ${(error as Error).message}; remove it as root, the agent then names its registry again`,
      { cause: error, details: { damaged: true } },
    );
  }
}
