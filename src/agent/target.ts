/**
 * The target that this host holds. Level-triggered: the registry tells the tag of the latest with every beat; when the
 * host holds another one, it is fetched and judged (domain/target.ts). What is refused changes nothing: the last good
 * one keeps running, the status says why, and it is asked for again when the tag changes, or after a minute.
 */

import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { type Loop, startLoop } from '../base/loop.ts';
import type { Loops } from '../base/loops.ts';
import type { Random } from '../base/random.ts';
import { systemCaller } from '../domain/access.ts';
import { AppError } from '../domain/error.ts';
import { type HostFacts, ownHostEvent } from '../domain/host.ts';
import type { TargetService } from '../domain/services.ts';
import {
  decideTarget,
  type SignedTarget,
  type TargetDocument,
  type TargetProblem,
  tagOfDocument,
} from '../domain/target.ts';
import type { TrustKey } from '../domain/trust.ts';
import type { Store, Transaction } from '../store/engine/port.ts';
import type { Identity, IdentityStore } from '../store/identity.ts';
import type { HeldTarget, HeldTargetStore } from '../store/target.ts';
import { targetReader } from '../wire/target-reader.ts';
import { within } from './deadline.ts';
import type { RegistryPeer } from './peer.ts';
import type { RegistryTime } from './registry-time.ts';

/** A target that was believed. */
export interface Held extends HeldTarget {
  readonly document: TargetDocument;
}

export interface TargetStatus {
  readonly tag: string | null;
  readonly acceptedAtMs: number | null;
  /** Why the latest one was refused, or none is given (`withheld`); null when the held one is the latest. */
  readonly refusal: { readonly problem: TargetProblem | 'withheld'; readonly detail: string } | null;
}

export interface TargetKeeperOptions {
  readonly store: Store;
  readonly identities: IdentityStore;
  readonly targets: HeldTargetStore;
  /** What selectors may ask of this host, as of the last commit. */
  readonly facts: () => HostFacts;
}

/** What a membership gives the keeper to follow its registry with. */
export interface TargetSource {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly loops?: Loops | undefined;
  readonly identity: Identity;
  readonly peer: Pick<RegistryPeer, 'target'>;
  readonly time: RegistryTime;
  /** It was accepted, and stored with the name that it gives the host. */
  readonly onAccepted: (held: Held, identity: Identity) => Promise<void>;
}

const fetchTimeoutMs = 10_000;
const againMs = 60_000;
const backoffBaseMs = 1_000;
const backoffCapMs = 60_000;

export class TargetKeeper implements TargetService {
  readonly #options: TargetKeeperOptions;
  #held: Held | null;
  #host: { readonly id: string; readonly name: string } | null = null;
  #refusal: TargetStatus['refusal'] = null;

  private constructor(options: TargetKeeperOptions, held: Held | null) {
    this.#options = options;
    this.#held = held;
  }

  static async open(options: TargetKeeperOptions): Promise<TargetKeeper> {
    const kept = await options.targets.read();
    if (kept === null) return new TargetKeeper(options, null);
    const read = await targetReader();
    return new TargetKeeper(options, { ...kept, document: read(kept.body) });
  }

  get held(): Held | null {
    return this.#held;
  }

  status(): TargetStatus {
    const { tag = null, acceptedAtMs = null } = this.#held ?? {};
    return { tag, acceptedAtMs, refusal: this.#refusal };
  }

  /** As it was signed: whoever asks here can verify it as this host did. */
  async target(idOrName: string): Promise<SignedTarget> {
    const held = this.#held;
    const host = this.#host;
    if (host === null || (idOrName.toLowerCase() !== host.id && idOrName.toLowerCase() !== host.name))
      throw new AppError(
        'not-found',
        `Cannot show the target of "${idOrName}": this agent holds its own only`,
      );
    if (held === null)
      throw new AppError('not-found', 'Cannot show the target: the registry has not given one yet');
    return { tag: held.tag, body: held.body, signature: held.signature };
  }

  /** In the transaction of a new membership: what was held is of another one. */
  async forgetIn(tx: Transaction): Promise<void> {
    await this.#options.targets.forgetIn(tx);
    tx.onCommit(() => {
      this.#held = null;
      this.#refusal = null;
    });
  }

  /** Follows what the registry tells until it is stopped. */
  follow(source: TargetSource): Following {
    const { clock, random, logger, loops, identity } = source;
    this.#host = identity;
    let told: string | null = null;
    /** The one that was refused. */
    let refused: { readonly tag: string; readonly atMs: number } | null = null;
    const loop: Loop = startLoop({
      name: 'target',
      clock,
      random,
      logger,
      loops,
      backoffBaseMs,
      backoffCapMs,
      run: async () => {
        if (told === null) return;
        if (told === this.#held?.tag) {
          this.#refusal = null;
          return;
        }
        const leftMs = refused?.tag === told ? refused.atMs + againMs - clock.monotonic() : 0;
        if (leftMs > 0) return { nextMs: leftMs };
        const asked = told;
        if (await this.#fetch(source)) return;
        refused = { tag: asked, atMs: clock.monotonic() };
        return { nextMs: againMs };
      },
    });
    return {
      told: (tag) => {
        told = tag;
        if (tag === null) this.#refusal = withheld;
        else if (this.#refusal === withheld) this.#refusal = null;
        if (tag !== null && (tag !== this.#held?.tag || this.#refusal !== null)) loop.wake();
      },
      stop: () => loop.stop(),
    };
  }

  /** Fetches the latest and takes it, if it is good; false when it is not. */
  async #fetch(source: TargetSource): Promise<boolean> {
    const { clock, logger, identity, peer, time } = source;
    const { body, signature } = await within(clock, fetchTimeoutMs, 'the target', peer.target(identity.id));
    const registryNowMs = time.now();
    if (registryNowMs === null) throw new Error('a target was told by no answer');
    const decision = decideTarget(
      {
        hostId: identity.id,
        keys: this.keys(identity),
        version: this.#held?.document ?? null,
      },
      { body: Buffer.from(body), signature },
      { registryNowMs, read: await targetReader() },
    );
    if (!decision.accepted) {
      const { problem, detail } = decision;
      this.#refusal = { problem, detail };
      logger.error({ problem, detail }, 'refused a target, the last good one keeps running');
      return false;
    }
    await this.#accept(source, decision.document, { body, signature: signature ?? '' });
    return true;
  }

  async #accept(
    { clock, logger, onAccepted }: TargetSource,
    document: TargetDocument,
    { body, signature }: { body: string; signature: string },
  ): Promise<void> {
    const { store, targets, identities, facts } = this.#options;
    const held: Held = {
      tag: tagOfDocument(document),
      body,
      signature,
      acceptedAtMs: clock.now(),
      document,
    };
    const identity = await store.write(systemCaller, async (tx) => {
      await targets.writeIn(tx, held);
      const renamed = await identities.renameIn(tx, document.settings.name);
      const { region, labels } = document.settings;
      const before = facts();
      const changed = ownHostEvent(before, { ...before, name: renamed.name, region, labels });
      if (changed !== null) tx.append(changed);
      tx.onCommit(() => {
        this.#held = held;
        this.#host = renamed;
        this.#refusal = null;
      });
      return renamed;
    });
    logger.info({ tag: held.tag }, 'holds another target');
    await onAccepted(held, identity);
  }

  /** Who may sign: as the held one says, which was signed by one of those before. */
  keys(identity: Identity): readonly TrustKey[] {
    return this.#held?.document.settings.trust.keys ?? identity.signingKeys;
  }
}

const withheld: NonNullable<TargetStatus['refusal']> = {
  problem: 'withheld',
  detail:
    'The registry gives this host no target: another machine claims to be this host too. If one is a copy of the other, join the copy anew with a join token',
};

export interface Following {
  /** The tag of the latest; null while the registry gives out none. */
  told(tag: string | null): void;
  /** Never rejects. */
  stop(): Promise<void>;
}
