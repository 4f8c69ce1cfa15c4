/**
 * The agent's life with its registry: joins once, then beats, checks in and reports, and acts on what the answers say.
 * Nothing else of the agent waits for it; without a registry there is no session.
 */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { type Loop, startLoop } from '../base/loop.ts';
import type { Loops } from '../base/loops.ts';
import type { Random } from '../base/random.ts';
import { LinkError } from '../client/link.ts';
import type { TlsTrust } from '../client/tls.ts';
import { systemCaller } from '../domain/access.ts';
import type { AppError } from '../domain/error.ts';
import type { BeatAnswer } from '../domain/host.ts';
import type { TargetSettings } from '../domain/target.ts';
import type { Store } from '../store/engine/port.ts';
import type { Identity, IdentityStore } from '../store/identity.ts';
import type { LocalInventory } from '../store/local-inventory.ts';
import type { Acked, Outbox } from '../store/outbox.ts';
import type { PeerMarks } from '../store/peer-marks.ts';
import { startCheckIn } from './checkin.ts';
import { within } from './deadline.ts';
import { type HeartbeatStatus, startHeartbeat } from './heartbeat.ts';
import { type JoinOptions, type JoinToken, join, readJoinToken, readMembership } from './join.ts';
import { RegistryLink } from './link.ts';
import { contestedProblem, isSafeUrl, Member, problemOf } from './member.ts';
import type { Membership, MembershipFiles } from './membership.ts';
import { startOutboxSender } from './outbox.ts';
import type { Connect, RegistryPeer } from './peer.ts';
import { RegistryTime } from './registry-time.ts';
import { isRefusal, Standing } from './standing.ts';
import { decideSync, type SentBeat } from './sync.ts';
import type { TargetKeeper } from './target.ts';

export interface SessionOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly loops?: Loops | undefined;
  readonly store: Store;
  readonly identities: IdentityStore;
  readonly inventory: LocalInventory;
  readonly outbox: Outbox;
  readonly peerMarks: PeerMarks;
  readonly targets: TargetKeeper;
  readonly files: MembershipFiles;
  /** Null: where the join token says. */
  readonly registryUrl: string | null;
  /** What the membership is kept under instead of the URL, for a registry that may have another port each time. */
  readonly knownAs?: string | undefined;
  readonly name: string;
  readonly region: string | null;
  readonly machineId: string;
  readonly bootId: string;
  /** Needed for the first join only. */
  readonly token: JoinToken;
  /** The host has joined with it. */
  readonly tokenUsed?: (() => Promise<void>) | undefined;
  /** Certificates (PEM) that are believed beside the registry's own CA. */
  readonly ca: readonly string[];
  readonly connect: Connect;
  /** False until every detector has looked once: until then the inventory says nothing. */
  readonly inventoryReady: () => boolean;
  /** The host is known to the registry by this name. Awaited before the first beat. */
  readonly onMember: (identity: Identity) => Promise<void>;
}

export interface SessionStatus {
  /** Null while nothing is known of the registry but that there is one. */
  readonly url: string | null;
  readonly joined: boolean;
  /** Null before the host has joined. */
  readonly beats: HeartbeatStatus | null;
  readonly credential: { readonly generation: number; readonly expiresAtMs: number } | null;
  /** How far this machine's clock is ahead of the registry's; null before the first answer. */
  readonly skewMs: number | null;
  /** What a person has to know or do; null when all is well. */
  readonly problem: string | null;
}

/** How often the furthest mark seen of the registry is written; it is written at a stop and at a new life too. */
const saveMarksMs = 300_000;
const tokenReadMs = 2_000;
const backoffBaseMs = 1_000;
const backoffCapMs = 60_000;
const refusedCapMs = 600_000;

export class Session {
  readonly #options: SessionOptions;
  #joining: Loop | null = null;
  #joinRefused = false;
  #member: Member | null = null;
  #problem: string | null = null;
  /** Whether the first answer after a silence has been acted upon. */
  #acted = false;
  /** Another machine claims to be this host, and the registry cannot tell which one is: nothing of either counts. */
  #contested = false;
  /** The join token that was tried while the identity was contested. */
  #triedAnew: string | null = null;
  /** A member joins anew: until the registry answers it as before. */
  #anew = false;

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
    return this.#member?.link ?? null;
  }

  status(): SessionStatus {
    const { registryUrl } = this.#options;
    const member = this.#member;
    const standing = member?.standing.status() ?? null;
    const beats = member?.beats.status() ?? null;
    return {
      url: member?.link.url ?? registryUrl,
      joined: member !== null,
      beats,
      credential:
        standing === null ? null : { generation: standing.generation, expiresAtMs: standing.expiresAtMs },
      skewMs: member?.time.skewMs ?? null,
      problem:
        problemOf(standing?.problem ?? null, this.#problem) ??
        beats?.error?.message ??
        (this.#contested ? contestedProblem : null),
    };
  }

  /** The registry's clock as its answers tell it, in whole milliseconds; null before the first. */
  registryNowMs(): number | null {
    const now = this.#member?.time.now() ?? null;
    return now === null ? null : Math.round(now);
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
    await this.#member?.stop({ leaving });
    if (this.#member !== null) await this.#options.peerMarks.save();
  }

  #beginJoining(): void {
    const { clock, random, logger, loops } = this.#options;
    this.#joining = startLoop({
      name: 'join',
      clock,
      random,
      logger,
      loops,
      backoffBaseMs,
      // A token that was refused is refused again, until somebody puts another one in its place.
      backoffCapMs: () => (this.#joinRefused ? refusedCapMs : backoffCapMs),
      run: () => this.#join(),
    });
  }

  async #join(): Promise<void> {
    const { logger } = this.#options;
    // A member that is answered again stays what it is.
    if (this.#member !== null && !this.#anew) return;
    try {
      const membership = await join(this.#joinOptions());
      this.#problem = null;
      const { identity } = membership;
      logger.info({ host: identity.name, id: identity.id, registry: identity.registryUrl }, 'joined');
      const before = this.#member;
      this.#member = null;
      // Whoever stays behind under the old name is it alone from now on.
      await before?.stop({ leaving: this.#contested });
      await this.#become(membership);
      await this.#options.tokenUsed?.().catch((err: unknown) => {
        logger.warn({ err }, 'the join token that was used is still there');
      });
    } catch (error) {
      this.#joinRefused = isRefusal(error);
      this.#problem = error instanceof Error ? error.message : String(error);
      throw error;
    }
  }

  #joinOptions(): JoinOptions {
    const { inventory, peerMarks, targets } = this.#options;
    return {
      ...this.#options,
      onJoined: async (tx) => {
        await peerMarks.forgetIn(tx);
        await inventory.forgetIn(tx);
        await targets.forgetIn(tx);
        await this.#resetOutbox(tx, null);
      },
    };
  }

  /**
   * The registry refuses this host for good. A join token that it did not come with lets it in again; one whose machine
   * is a copy joins as a host of its own also with the token of the first. An API token lets nobody in who was revoked.
   * While it is open which machine is the copy, the one that is given another join token is. And one that does not
   * believe its registry any more believes the one that a join token names which it did not come with.
   */
  async #joinAnew(refusal: AppError | 'contested', { joinedWith }: Identity): Promise<void> {
    const { logger } = this.#options;
    try {
      const { parts } = await readJoinToken(this.#options);
      const isCopy = refusal !== 'contested' && refusal.code === 'identity-conflict';
      if (parts === null || (parts.id === joinedWith && !isCopy)) return;
      if (refusal === 'contested' && parts.id === this.#triedAnew) return;
      this.#triedAnew = parts.id;
    } catch (error) {
      // Nobody has put one there, or it cannot be read: what to do stands in the status.
      logger.debug({ err: error }, 'no join token to join anew with');
      return;
    }
    this.#anew = true;
    logger.warn(refusal === 'contested' ? {} : { err: refusal }, 'joining anew');
    if (this.#joining === null) this.#beginJoining();
    // Beats that meet nobody to believe are far more frequent than those that are refused.
    else if (refusal instanceof LinkError) this.#joining.wake();
    else this.#joining.retryNow();
  }

  async #become(membership: Membership): Promise<void> {
    const { identity, credential } = membership;
    const {
      clock,
      random,
      logger,
      loops,
      connect,
      bootId,
      machineId,
      inventory,
      outbox,
      store,
      peerMarks,
      inventoryReady,
      onMember,
      files,
      targets,
    } = this.#options;
    this.#acted = false;
    this.#contested = false;
    await onMember(identity);
    // Stopped or without a registry in between: what happened meanwhile was not queued.
    if (!outbox.status().active) await this.#resend(null, 'reports were not kept');
    const settings = targets.held?.document.settings;
    let urls = this.#urlsOf(identity, settings);
    // Looked up once, when the registry is not where it was.
    let moved: readonly string[] | null = null;
    const link = new RegistryLink(connect, {
      url: urls[0] ?? identity.registryUrl,
      token: credential.credential,
      ...this.#trusting(settings?.trust.ca ?? membership.ca),
    });
    const time = new RegistryTime(clock);
    const standing = new Standing({ clock, random, logger, loops, membership, files, link, time, machineId });
    const { hosts } = link;
    const shared = { clock, random, logger, loops, hosts, hostId: identity.id };
    // Not before the answer is acted upon: it may say that the numbers of the reports mean something else there.
    const connected = () =>
      this.#acted && !this.#contested && (this.#member?.beats.status().connected ?? false);
    const checkIn = startCheckIn({ ...shared, inventory, ready: () => connected() && inventoryReady() });
    const sender = startOutboxSender({
      ...shared,
      outbox,
      ready: connected,
      onConflict: (acked, reason) => this.#resend(acked, reason),
      onAhead: (acked) => this.#ahead(acked),
    });
    const following = targets.follow({
      clock,
      random,
      logger,
      loops,
      identity,
      peer: link,
      time,
      onAccepted: async ({ document }, renamed) => {
        const { trust } = document.settings;
        await files.writeCa(trust.ca);
        urls = [...this.#urlsOf(identity, document.settings), ...(moved ?? [])];
        link.use({
          ...this.#trusting(trust.ca),
          ...(urls.includes(link.url) ? {} : { url: urls[0] ?? link.url }),
        });
        await onMember(renamed);
      },
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
      onAnswer: async (sent, answer, how) => {
        time.note(answer.nowMs, how.tookMs);
        await standing.answered();
        await this.#noteContest(answer, identity);
        // What it says of reports and logs is then nobody's.
        if (!this.#contested) await this.#heard(sent, answer, how);
        following.told(answer.target);
      },
      onFailure: async (error) => {
        if (!isRefusal(error)) {
          if (moved === null) {
            moved = await this.#movedTo(identity, targets.held?.document.settings);
            urls = [...urls, ...moved];
          }
          link.useNext(urls, error);
          if (error instanceof LinkError && error.failure === 'untrusted')
            await this.#joinAnew(error, identity);
          return 'wait';
        }
        const how = await standing.refused(error);
        if (how === 'out') await this.#joinAnew(standing.status().problem ?? error, identity);
        return how;
      },
    });
    this.#member = new Member({
      link,
      time,
      standing,
      following,
      beats,
      checkIn,
      sender,
      savedMs: clock.monotonic(),
    });
  }

  /** A registry that gives no target cannot tell this host from another machine. */
  async #noteContest({ target }: BeatAnswer, identity: Identity): Promise<void> {
    const was = this.#contested;
    this.#contested = target === null;
    if (!this.#contested) {
      if (this.#anew) {
        this.#anew = false;
        this.#problem = null;
      }
      if (was) this.#options.logger.info({}, 'no other machine claims to be this host any more');
      return;
    }
    if (!was) this.#options.logger.error({}, 'another machine claims to be this host too');
    await this.#joinAnew('contested', identity);
  }

  /** Where the registry is, best first: as whoever started the agent says, or else as the registry does. */
  #urlsOf(identity: Identity, settings: TargetSettings | undefined): readonly string[] {
    const { registryUrl } = this.#options;
    if (registryUrl !== null) return [registryUrl];
    const told = settings?.urls.filter((url) => isSafeUrl(url)) ?? [];
    return told.length > 0 ? told : identity.urls;
  }

  /** Where a join token says that this very registry is: it may have moved since the host joined. */
  async #movedTo(identity: Identity, settings: TargetSettings | undefined): Promise<readonly string[]> {
    const { registryUrl, token, clock, logger } = this.#options;
    if (registryUrl !== null || token === null) return [];
    try {
      // What comes from a pipe may never come.
      const { parts } = await within(clock, tokenReadMs, 'the join token', readJoinToken(this.#options));
      const known = settings?.trust.keys ?? identity.signingKeys;
      return parts !== null && known.some(({ key }) => key === parts.key) ? parts.urls.filter(isSafeUrl) : [];
    } catch (error) {
      // A host that has joined needs none.
      logger.debug({ err: error }, 'no join token to learn from where the registry is');
      return [];
    }
  }

  #trusting(ca: readonly string[]): { readonly tls: TlsTrust | undefined } {
    const all = [...this.#options.ca, ...ca];
    return { tls: all.length === 0 ? undefined : { ca: all } };
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
