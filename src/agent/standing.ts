/**
 * Whether the host may still call itself so: its credential, the renewals of it, and what happens when the registry
 * refuses it.
 *
 * Good. At two thirds of its life, by the registry's clock, another credential is asked for and kept beside it.
 * Trying. The next beat is made with the new one; a good answer puts it in its place, here as there.
 * Refused. The other credential is tried, if there is one, and then the key: a host that was away for longer than its
 *   credential lived, or whose registry was put back, gets a new one for its proof.
 * Out. The key is refused too: the host was revoked or removed, or another machine has its identity. Nothing but a
 *   person cures that, so the registry is asked seldom; each time with the credential and the key.
 */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { type Loop, startLoop } from '../base/loop.ts';
import type { Loops } from '../base/loops.ts';
import type { Random } from '../base/random.ts';
import { AppError, type ErrorCode } from '../domain/error.ts';
import { credentialStatement, signProof } from '../domain/proof.ts';
import type { RenewalAnswer } from '../domain/services.ts';
import { hostCredentialLifeMs } from '../domain/token.ts';
import { within } from './deadline.ts';
import { phaseOf } from './heartbeat.ts';
import type { RegistryLink } from './link.ts';
import type { Credential, Membership, MembershipFiles } from './membership.ts';
import type { RegistryTime } from './registry-time.ts';

export interface StandingOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly loops?: Loops | undefined;
  readonly membership: Membership;
  readonly files: MembershipFiles;
  readonly link: RegistryLink;
  readonly time: RegistryTime;
  readonly machineId: string;
}

export interface StandingStatus {
  readonly generation: number;
  readonly expiresAtMs: number;
  /** Why it is out, or why it cannot renew; null when all is well. */
  readonly problem: AppError | null;
}

/** Codes that no waiting cures. */
const refusals: readonly ErrorCode[] = ['unauthenticated', 'forbidden', 'not-found', 'identity-conflict'];

const renewalTimeoutMs = 10_000;
const backoffBaseMs = 30_000;
const backoffCapMs = 600_000;

export class Standing {
  readonly #options: StandingOptions;
  readonly #renewals: Loop;
  #credential: Credential;
  /** Offered, and not known to be in force. */
  #next: Credential | null;
  /** Which of the two the line is on. */
  #trying = false;
  /** What was tried since it was last in or out, so that nothing is tried for ever. */
  #tried = { next: false, renewal: false };
  #problem: AppError | null = null;

  constructor(options: StandingOptions) {
    this.#options = options;
    this.#credential = options.membership.credential;
    this.#next = options.membership.next;
    if (this.#next !== null) this.#try(this.#next);
    const { clock, random, logger, loops } = options;
    this.#renewals = startLoop({
      name: 'renewal',
      clock,
      random,
      logger,
      loops,
      backoffBaseMs,
      backoffCapMs,
      run: () => this.#renewWhenDue(),
    });
  }

  status(): StandingStatus {
    const { generation, expiresAtMs } = this.#credential;
    return { generation, expiresAtMs, problem: this.#problem };
  }

  /** The registry took a beat. */
  async answered(): Promise<void> {
    this.#tried = { next: false, renewal: false };
    if (this.#trying && this.#next !== null) {
      await this.#options.files.commitNext();
      this.#credential = this.#next;
      this.#next = null;
      this.#trying = false;
      const { generation } = this.#credential;
      this.#options.logger.info({ generation }, 'renewed the credential');
    }
    if (this.#problem !== null && !this.#isDue()) this.#problem = null;
    if (this.#isDue()) this.#renewals.wake();
  }

  /**
   * The registry refused a beat. `again`: there is another credential to try now. `out`: there is none, and no waiting
   * cures it. Throws what else came of asking for one.
   */
  async refused(error: AppError): Promise<'again' | 'out'> {
    if (error.code === 'identity-conflict') this.#problem = error;
    else if (await this.#change()) return 'again';
    // What the renewal was refused with says more than that a credential is unknown.
    this.#problem ??= error;
    // The next time all of it is tried again: the registry may have had the wrong store, and the credential end meanwhile.
    this.#tried = { next: false, renewal: false };
    return 'out';
  }

  async stop(): Promise<void> {
    await this.#renewals.stop();
  }

  /** Another credential than the one that was refused; false when there is none. */
  async #change(): Promise<boolean> {
    const { membership, files } = this.#options;
    if (this.#trying) {
      // The offer has ended, or it never was one: back to the one before.
      this.#trying = false;
      this.#next = null;
      await files.dropNext();
      this.#options.link.use({ token: this.#credential.credential });
      if (!this.#tried.next) {
        this.#tried.next = true;
        return true;
      }
    }
    if (membership.key === null || this.#tried.renewal) return false;
    this.#tried.renewal = true;
    try {
      await this.#renew();
      return true;
    } catch (error) {
      if (!isRefusal(error)) {
        // It was not heard: the next beat may ask again.
        this.#tried.renewal = false;
        throw error;
      }
      this.#problem = error;
      return false;
    }
  }

  async #renewWhenDue(): Promise<void> {
    if (!this.#isDue()) return;
    try {
      await this.#renew();
    } catch (error) {
      if (isRefusal(error)) this.#problem = error;
      throw error;
    }
  }

  #isDue(): boolean {
    const now = this.#options.time.now();
    const { host, renewAtMs, expiresAtMs } = this.#credential;
    if (now === null || this.#next !== null || this.#options.membership.key === null) return false;
    // Hosts that joined at once do not renew at once.
    const spreadMs = (expiresAtMs - renewAtMs) * 0.25 * phaseOf(host);
    return now >= renewAtMs + spreadMs;
  }

  async #renew(): Promise<void> {
    const { clock, files, link, membership, machineId } = this.#options;
    const { key, identity } = membership;
    if (key === null) throw new Error('a host without a key renews nothing');
    const { generation } = this.#credential;
    const proof = signProof(key, credentialStatement(identity.id, generation));
    const call = link.hosts.renew(identity.id, { generation, proof, machineId });
    const offer = await within(clock, renewalTimeoutMs, 'a renewal', call);
    const next = this.#credentialOf(offer);
    await files.writeNext(next);
    this.#next = next;
    this.#try(next);
  }

  #try(next: Credential): void {
    this.#trying = true;
    this.#options.link.use({ token: next.credential });
  }

  #credentialOf({ credential, generation, expiresAtMs }: RenewalAnswer): Credential {
    const { host, key } = this.#credential;
    // Before any answer the registry's clock is not known.
    const now = this.#options.time.now() ?? expiresAtMs - hostCredentialLifeMs;
    const renewAtMs = expiresAtMs - Math.max(0, expiresAtMs - now) / 3;
    return { host, key, generation, expiresAtMs, renewAtMs, credential };
  }
}

export function isRefusal(error: unknown): error is AppError {
  return error instanceof AppError && refusals.includes(error.code);
}
