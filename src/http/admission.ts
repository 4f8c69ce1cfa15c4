/**
 * Who is let in when there is more to do than can be done. Two questions, two answers:
 *
 * - Is there room? Each class of requests may have so many under way and no more, so that none of them holds up a
 *   class above it: what is cheap and vital (heartbeats) never waits behind what is dear and can wait (joins, complete
 *   inventories). Over its cap a request is `unavailable` (503: ours), before its body is read.
 * - Has this address had its share? Wrong credentials and joins are counted for each remote address; over that it is
 *   `rate-limited` (429: theirs). A good credential is always let in, whatever else came from its address: behind one
 *   there may be a fleet.
 *
 * Both say when to come back, each time a little differently, so that whoever is turned away together does not come
 * back together.
 */
import type { IncomingMessage } from 'node:http';
import type { Clock } from '../base/clock.ts';
import type { limits } from '../base/limits.ts';
import type { Random } from '../base/random.ts';
import { TokenBuckets } from '../base/token-buckets.ts';
import type { Caller } from '../domain/access.ts';
import { AppError, isAppError } from '../domain/error.ts';
import type { AccessService } from '../domain/services.ts';
import { type Entrance, identify } from './auth.ts';

/** Best served first. `probe` is answered in any case: it asks whether we are well. */
export const requestClasses = [
  'probe',
  'beat',
  'credential',
  'report',
  'read',
  'watch',
  'checkin',
  'join',
  'admin',
] as const;
export type RequestClass = (typeof requestClasses)[number];

export type AdmissionLimits = Pick<
  typeof limits,
  | 'beatsUnderWayMax'
  | 'credentialsUnderWayMax'
  | 'reportsUnderWayMax'
  | 'readsUnderWayMax'
  | 'socketsMax'
  | 'checkInsUnderWayMax'
  | 'joinsUnderWayMax'
  | 'adminsUnderWayMax'
  | 'wrongCredentialsBurstMax'
  | 'wrongCredentialsEveryMs'
  | 'joinsBurstMax'
  | 'joinsEveryMs'
  | 'anonymousPostsBurstMax'
  | 'anonymousPostsEveryMs'
  | 'addressesMax'
>;

export interface AdmissionOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly access: AccessService;
  readonly limits: { readonly [Name in keyof AdmissionLimits]: number };
}

/** Why a request was turned away, for `/metrics`. */
export type Refusal = 'under-way' | 'wrong-credentials' | 'joins' | 'anonymous-posts';

export class Admission {
  readonly #options: AdmissionOptions;
  readonly #lanes: Readonly<Record<RequestClass, Lane>>;
  readonly #wrong: TokenBuckets;
  readonly #joins: TokenBuckets;
  readonly #anonymous: TokenBuckets;
  readonly #refusals = { 'wrong-credentials': 0, joins: 0, 'anonymous-posts': 0 };

  constructor(options: AdmissionOptions) {
    const { limits, random } = options;
    this.#options = options;
    const lane = (name: RequestClass, max: number, backMs: number) => new Lane({ name, max, backMs, random });
    this.#lanes = {
      probe: lane('probe', Number.POSITIVE_INFINITY, 1_000),
      beat: lane('beat', limits.beatsUnderWayMax, 1_000),
      credential: lane('credential', limits.credentialsUnderWayMax, 2_000),
      report: lane('report', limits.reportsUnderWayMax, 2_000),
      read: lane('read', limits.readsUnderWayMax, 2_000),
      watch: lane('watch', limits.socketsMax, 10_000),
      checkin: lane('checkin', limits.checkInsUnderWayMax, 5_000),
      join: lane('join', limits.joinsUnderWayMax, 10_000),
      admin: lane('admin', limits.adminsUnderWayMax, 2_000),
    };
    this.#wrong = new TokenBuckets(
      { burst: limits.wrongCredentialsBurstMax, everyMs: limits.wrongCredentialsEveryMs },
      limits.addressesMax,
    );
    this.#anonymous = new TokenBuckets(
      { burst: limits.anonymousPostsBurstMax, everyMs: limits.anonymousPostsEveryMs },
      limits.addressesMax,
    );
    this.#joins = new TokenBuckets(
      { burst: limits.joinsBurstMax, everyMs: limits.joinsEveryMs },
      limits.addressesMax,
    );
  }

  /** Where requests of a class are counted. */
  laneOf(requestClass: RequestClass): Lane {
    return this.#lanes[requestClass];
  }

  /** As `identify` of auth.ts; a credential that is no good counts, and over the limit is `rate-limited`. */
  identify(request: IncomingMessage, entrance: Entrance): Caller | null | Promise<Caller> {
    try {
      const found = identify(request, entrance, this.#options.access);
      if (!(found instanceof Promise)) return found;
      return found.catch((error: unknown) => {
        throw this.#counted(request, entrance, error);
      });
    } catch (error) {
      throw this.#counted(request, entrance, error);
    }
  }

  /** Before a proof is looked at, which is dear: `rate-limited` while too many from this address were wrong. */
  requireTrusted(request: IncomingMessage, entrance: Entrance): void {
    const waitMs = this.#wrong.waitMs(addressOf(request, entrance) ?? '', this.#options.clock.monotonic());
    if (waitMs > 0) throw this.#tooManyWrong(waitMs);
  }

  /** A proof was wrong. */
  noteWrongProof(request: IncomingMessage, entrance: Entrance): void {
    const address = addressOf(request, entrance);
    if (address !== null) this.#wrong.take(address, this.#options.clock.monotonic());
  }

  /** Joins by join token, for each address; an admin's are not counted. `rate-limited`. */
  requireJoin(request: IncomingMessage, entrance: Entrance): void {
    const address = addressOf(request, entrance);
    if (address === null) return;
    const waitMs = this.#joins.take(address, this.#options.clock.monotonic());
    if (waitMs === 0) return;
    this.#refusals.joins += 1;
    throw new AppError('rate-limited', 'Cannot join now: too many hosts join from this address, try again', {
      retryAfterMs: jittered(waitMs + this.#lanes.join.backMs, this.#options.random),
    });
  }

  /** Posts of those who say nothing of who they are, for each address. `rate-limited`. */
  requireAnonymousPost(request: IncomingMessage, entrance: Entrance): void {
    const address = addressOf(request, entrance);
    if (address === null) return;
    const waitMs = this.#anonymous.take(address, this.#options.clock.monotonic());
    if (waitMs === 0) return;
    this.#refusals['anonymous-posts'] += 1;
    throw new AppError(
      'rate-limited',
      'Cannot take more posts without a token from this address now: try again later, or send a token',
      { retryAfterMs: jittered(waitMs + this.#lanes.checkin.backMs, this.#options.random) },
    );
  }

  /** For `/metrics`. */
  counts(): { name: RequestClass; underWay: number; refusals: Partial<Record<Refusal, number>> }[] {
    return Object.values(this.#lanes).map(({ name, underWay, refused }) => ({
      name,
      underWay,
      refusals: {
        'under-way': refused,
        ...(name === 'credential' ? { 'wrong-credentials': this.#refusals['wrong-credentials'] } : {}),
        ...(name === 'join' ? { joins: this.#refusals.joins } : {}),
        ...(name === 'checkin' ? { 'anonymous-posts': this.#refusals['anonymous-posts'] } : {}),
      },
    }));
  }

  /** What is told of a failed authentication. */
  #counted(request: IncomingMessage, entrance: Entrance, error: unknown): unknown {
    if (!isAppError(error, 'unauthenticated')) return error;
    const address = addressOf(request, entrance);
    if (address === null) return error;
    const waitMs = this.#wrong.take(address, this.#options.clock.monotonic());
    return waitMs === 0 ? error : this.#tooManyWrong(waitMs);
  }

  #tooManyWrong(waitMs: number): AppError {
    this.#refusals['wrong-credentials'] += 1;
    return new AppError(
      'rate-limited',
      'Cannot look at more credentials from this address now: too many were wrong, try again later',
      { retryAfterMs: jittered(waitMs + this.#lanes.credential.backMs, this.#options.random) },
    );
  }
}

/** Open connections of each address, so that none has them all. */
export class ConnectionCounts {
  readonly #max: number;
  readonly #open = new Map<string, number>();

  constructor(max: number) {
    this.#max = max;
  }

  /** False when this address has as many as it may; otherwise one more is open, until `leave`. */
  enter(address: string): boolean {
    const open = this.#open.get(address) ?? 0;
    if (open >= this.#max) return false;
    this.#open.set(address, open + 1);
    return true;
  }

  leave(address: string): void {
    const open = this.#open.get(address) ?? 0;
    if (open <= 1) this.#open.delete(address);
    else this.#open.set(address, open - 1);
  }
}

/** A host has at most the eighth part of a class under way; its agent sends one after another. */
const partsOfLane = 8;

/** The requests of one class. */
export class Lane {
  readonly name: RequestClass;
  /** After which time whoever is turned away comes back, on average. */
  readonly backMs: number;
  readonly #max: number;
  readonly #random: Random;
  /** Under way of each host that has some. */
  readonly #ofHosts = new Map<string, number>();
  underWay = 0;
  refused = 0;

  constructor(options: { name: RequestClass; max: number; backMs: number; random: Random }) {
    this.name = options.name;
    this.backMs = options.backMs;
    this.#max = options.max;
    this.#random = options.random;
  }

  /**
   * One more is under way, until `leave` of the same caller; `unavailable` when there is no room, `rate-limited` when a
   * host has had its part: whoever has the credential of one host shall not hold up all others.
   */
  enter({ hostId }: Caller): void {
    if (this.underWay >= this.#max) {
      this.refused += 1;
      throw new AppError(
        'unavailable',
        `Cannot take another request of the class ${this.name} now: ${this.#max} are under way, try again`,
        { retryAfterMs: jittered(this.backMs, this.#random) },
      );
    }
    if (hostId !== undefined) this.#enterHost(hostId);
    this.underWay += 1;
  }

  leave({ hostId }: Caller): void {
    this.underWay -= 1;
    if (hostId === undefined) return;
    const left = (this.#ofHosts.get(hostId) ?? 0) - 1;
    if (left > 0) this.#ofHosts.set(hostId, left);
    else this.#ofHosts.delete(hostId);
  }

  #enterHost(hostId: string): void {
    const underWay = this.#ofHosts.get(hostId) ?? 0;
    if (underWay >= Math.ceil(this.#max / partsOfLane)) {
      this.refused += 1;
      throw new AppError(
        'rate-limited',
        `Cannot take another request of the class ${this.name} now: ${underWay} of this host are under way, try again`,
        { retryAfterMs: jittered(this.backMs, this.#random) },
      );
    }
    this.#ofHosts.set(hostId, underWay + 1);
  }
}

/**
 * Whom to hold accountable: the address of the connection, or what the proxy in front says it had. Of IPv6 the /64, for
 * that is what one customer has. Null on a Unix socket, where the file's mode has said who it is.
 */
export function addressOf(request: IncomingMessage, entrance: Entrance): string | null {
  if (entrance.caller !== null) return null;
  const forwarded = entrance.behindProxy ? request.headers['x-forwarded-for'] : undefined;
  // Only the last one is the proxy's own word; what stands before came from outside.
  const last = (Array.isArray(forwarded) ? forwarded.at(-1) : forwarded)?.split(',').at(-1)?.trim();
  return networkOf(
    last === undefined || last === '' ? (request.socket.remoteAddress ?? '') : last.slice(0, 64),
  );
}

/** Of an IPv6 address its first four groups, written out; of IPv4, mapped into IPv6 or not, the address itself. */
export function networkOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined || !address.includes(':')) return mapped ?? address;
  const [head = '', tail] = address.toLowerCase().split('%')[0]?.split('::') ?? [];
  const groups = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - groups.length - after.length);
  return [...groups, ...new Array<string>(zeros).fill('0'), ...after]
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, ''))
    .join(':');
}

/** Half to one and a half times as long. */
function jittered(ms: number, random: Random): number {
  return Math.round(ms * (0.5 + random.uniform()));
}
