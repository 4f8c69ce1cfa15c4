/**
 * The agent's life with its registry: joins once, then beats, checks in and reports, and acts on what the answers say.
 * Nothing else of the agent waits for it; without a registry there is no session.
 */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { type Loop, startLoop } from '../base/loop.ts';
import type { Random } from '../base/random.ts';
import { systemCaller } from '../domain/access.ts';
import type { BeatAnswer } from '../domain/host.ts';
import type { HostService, LivenessService } from '../domain/services.ts';
import type { Store } from '../store/engine/port.ts';
import type { Identity, IdentityStore } from '../store/identity.ts';
import type { LocalInventory } from '../store/local-inventory.ts';
import type { Acked, Outbox } from '../store/outbox.ts';
import type { PeerMarks } from '../store/peer-marks.ts';
import { startCheckIn } from './checkin.ts';
import { type Heartbeat, type HeartbeatStatus, startHeartbeat } from './heartbeat.ts';
import { type JoinOptions, type JoinToken, join, type Membership, readMembership } from './join.ts';
import { startOutboxSender } from './outbox.ts';
import { decideSync, type SentBeat } from './sync.ts';

/** The registry as this host calls it, with one credential. */
export interface RegistryPeer {
  readonly hosts: HostService;
  readonly liveness: LivenessService;
  close(): Promise<void>;
}

export interface SessionOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly store: Store;
  readonly identities: IdentityStore;
  readonly inventory: LocalInventory;
  readonly outbox: Outbox;
  readonly peerMarks: PeerMarks;
  readonly dataDir: string;
  readonly registryUrl: string;
  /** What the membership is kept under instead of the URL, for a registry that may have another port each time. */
  readonly knownAs?: string | undefined;
  readonly name: string;
  readonly region: string | null;
  readonly machineId: string;
  readonly bootId: string;
  /** Needed for the first join only. */
  readonly token: JoinToken;
  readonly connect: (credential: string) => RegistryPeer;
  /** False until every detector has looked once: until then the inventory says nothing. */
  readonly inventoryReady: () => boolean;
  /** The host is known to the registry by this name. Awaited before the first beat. */
  readonly onMember: (identity: Identity) => Promise<void>;
}

export interface SessionStatus {
  readonly url: string;
  readonly joined: boolean;
  /** Null before the host has joined. */
  readonly beats: HeartbeatStatus | null;
  /** What a person has to know or do; null when all is well. */
  readonly problem: string | null;
}

/** How often the furthest mark seen of the registry is written; it is written at a stop and at a new life too. */
const saveMarksMs = 300_000;
const backoffBaseMs = 1_000;
const backoffCapMs = 60_000;

export class Session {
  readonly #options: SessionOptions;
  #joining: Loop | null = null;
  #member: Member | null = null;
  #problem: string | null = null;
  /** Whether the first answer after a silence has been acted upon. */
  #acted = false;

  private constructor(options: SessionOptions) {
    this.#options = options;
  }

  /** Begins at once with the membership of an earlier start; without one it joins, again and again until it succeeds. */
  static async start(options: SessionOptions): Promise<Session> {
    const session = new Session(options);
    const membership = await readMembership(options);
    if (membership === null) session.#beginJoining();
    else await session.#become(membership);
    return session;
  }

  /** The registry; null before the host has joined. */
  get peer(): RegistryPeer | null {
    return this.#member?.peer ?? null;
  }

  status(): SessionStatus {
    const { registryUrl, dataDir } = this.#options;
    const beats = this.#member?.beats.status() ?? null;
    const error = beats?.error ?? null;
    const problem = this.#problem ?? (error === null ? null : problemOf(error, dataDir));
    return { url: registryUrl, joined: this.#member !== null, beats, problem };
  }

  /** The inventory changed, or is told for the first time. */
  inventoryChanged(): void {
    this.#member?.checkIn.wake();
  }

  reportQueued(): void {
    this.#member?.sender.wake();
  }

  /** Ends all calls. `leaving`: the host says goodbye, if the registry answers within 2 s. */
  async stop({ leaving }: { leaving: boolean }): Promise<void> {
    await this.#joining?.stop();
    const member = this.#member;
    if (member === null) return;
    await Promise.all([member.checkIn.stop(), member.sender.stop()]);
    await member.beats.stop({ leaving });
    await this.#options.peerMarks.save();
    await member.peer.close();
  }

  #beginJoining(): void {
    const { clock, random, logger } = this.#options;
    this.#joining = startLoop({
      name: 'join',
      clock,
      random,
      logger,
      backoffBaseMs,
      backoffCapMs,
      run: () => this.#join(),
    });
  }

  async #join(): Promise<void> {
    const { logger, registryUrl } = this.#options;
    try {
      const membership = await join(this.#joinOptions());
      this.#problem = null;
      logger.info(
        { host: membership.identity.name, id: membership.identity.id, registry: registryUrl },
        'joined',
      );
      await this.#become(membership);
    } catch (error) {
      this.#problem = error instanceof Error ? error.message : String(error);
      throw error;
    }
  }

  #joinOptions(): JoinOptions {
    const { connect, inventory, peerMarks } = this.#options;
    return {
      ...this.#options,
      connect: (token) => ({
        join: async (caller, request) => {
          const peer = connect(token);
          try {
            return await peer.hosts.join(caller, request);
          } finally {
            await peer.close();
          }
        },
      }),
      onJoined: async (tx) => {
        await peerMarks.forgetIn(tx);
        await inventory.forgetIn(tx);
        await this.#resetOutbox(tx, null);
      },
    };
  }

  async #become({ identity, credential }: Membership): Promise<void> {
    const {
      clock,
      random,
      logger,
      connect,
      bootId,
      machineId,
      inventory,
      outbox,
      store,
      peerMarks,
      inventoryReady,
      onMember,
    } = this.#options;
    await onMember(identity);
    // Stopped or without a registry in between: what happened meanwhile was not queued.
    if (!outbox.status().active) await this.#resend(null, 'reports were not kept');
    const peer = connect(credential);
    const { hosts } = peer;
    const shared = { clock, random, logger, hosts, hostId: identity.id };
    // Not before the answer is acted upon: it may say that the numbers of the reports mean something else there.
    const connected = () => this.#acted && (this.#member?.beats.status().connected ?? false);
    const checkIn = startCheckIn({ ...shared, inventory, ready: () => connected() && inventoryReady() });
    const sender = startOutboxSender({
      ...shared,
      outbox,
      ready: connected,
      onConflict: (acked, reason) => this.#resend(acked, reason),
      onAhead: (acked) => this.#ahead(acked),
    });
    const beats = startHeartbeat({
      ...shared,
      bootId,
      machineId,
      compose: () => ({
        beat: {
          own: store.log.head(),
          seen: peerMarks.seen,
          inventory: inventoryReady() ? inventory.hash : null,
        },
        outbox: outbox.status(),
        inventoryAcked: inventory.hash === inventory.ackedHash,
      }),
      onAnswer: (sent, answer, how) => this.#heard(sent, answer, how),
    });
    this.#member = new Member({ peer, beats, checkIn, sender, savedMs: clock.monotonic() });
  }

  async #heard(sent: SentBeat, answer: BeatAnswer, { returned }: { returned: boolean }): Promise<void> {
    const { clock, logger, store, inventory } = this.#options;
    const { seen, acked } = answer;
    if (returned) this.#acted = false;
    const ownHashAtSeen = seen === null ? null : await store.log.hashAt(seen.revision);
    const decision = decideSync({ ...sent, answer, head: store.log.head(), ownHashAtSeen });
    if (decision.ownRewoundAtLeast !== null)
      await this.#beginLife(decision.ownRewoundAtLeast, decision.reason ?? '');
    if (decision.resend === 'everything') await this.#resend(acked, decision.reason ?? '');
    else if (decision.resend === 'inventory') {
      if (decision.reason !== null)
        logger.warn({ reason: decision.reason }, 'sending the complete inventory');
      await inventory.forget();
    }
    if (decision.resend !== 'everything' && acked !== null) await this.#acknowledge(acked);
    await this.#noteMark(answer, clock.monotonic());
    this.#acted = true;
    for (const loop of [this.#member?.checkIn, this.#member?.sender]) {
      // Their failures were the outage's; otherwise a Retry-After that they were told holds.
      if (returned) loop?.retryNow();
      else loop?.wake();
    }
  }

  /** An acknowledgement whose own answer was lost arrives with the next beat. */
  async #acknowledge(acked: Acked): Promise<void> {
    const { outbox } = this.#options;
    const { epoch, ackedSeq } = outbox.status();
    if (acked.epoch !== epoch || acked.seq <= ackedSeq) return;
    if ((await outbox.ack(acked)) === 'ahead') await this.#ahead(acked);
  }

  /** Reports are in effect that this store never sent: it was put back to before it did. */
  async #ahead(acked: Acked): Promise<void> {
    const reason = `the registry has ${acked.seq} reports, more than were sent`;
    await this.#beginLife(this.#options.store.log.head().epoch + 1, reason);
    await this.#resend(acked, reason);
  }

  async #beginLife(atLeast: number, reason: string): Promise<void> {
    const { store, logger } = this.#options;
    const { epoch } = await store.beginEpoch(systemCaller, { atLeast, reason });
    logger.error({ reason, epoch }, 'this store was put back to an earlier state, beginning a new life');
  }

  /** Both sides begin anew: all that is held and all that is installed is told again. */
  async #resend(acked: Acked | null, reason: string): Promise<void> {
    const { store, inventory, logger } = this.#options;
    logger.warn({ reason }, 'the registry and this host disagree, sending everything again');
    await store.write(systemCaller, async (tx) => {
      await inventory.forgetIn(tx);
      await this.#resetOutbox(tx, acked);
    });
  }

  #resetOutbox(tx: Parameters<Outbox['reset']>[0], acked: Acked | null): Promise<void> {
    const { outbox, store } = this.#options;
    return outbox.reset(tx, { epoch: store.log.head().epoch, acked });
  }

  async #noteMark({ own }: BeatAnswer, nowMs: number): Promise<void> {
    const { peerMarks } = this.#options;
    const lifeBefore = peerMarks.seen?.epoch;
    peerMarks.note(own);
    const member = this.#member;
    if (member === null || (peerMarks.seen?.epoch === lifeBefore && nowMs - member.savedMs < saveMarksMs))
      return;
    await peerMarks.save();
    member.savedMs = nowMs;
  }
}

/** Everything that exists while the host is a member of a registry. */
class Member {
  readonly peer: RegistryPeer;
  readonly beats: Heartbeat;
  readonly checkIn: Loop;
  readonly sender: Loop;
  /** When the mark of the registry was last written, by the monotonic clock. */
  savedMs: number;

  constructor(parts: { peer: RegistryPeer; beats: Heartbeat; checkIn: Loop; sender: Loop; savedMs: number }) {
    this.peer = parts.peer;
    this.beats = parts.beats;
    this.checkIn = parts.checkIn;
    this.sender = parts.sender;
    this.savedMs = parts.savedMs;
  }
}

/** Codes that no waiting cures. */
const refusals: readonly string[] = ['unauthenticated', 'forbidden', 'not-found', 'identity-conflict'];

function problemOf(error: { code: string; message: string }, dataDir: string): string {
  if (!refusals.includes(error.code)) return error.message;
  return `The registry refuses this host (${error.message}). If it was revoked or removed there, delete ${dataDir}/credential and start the agent with --token-file to join again`;
}
