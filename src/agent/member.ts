/** What a host is at its registry while it is a member, and the words for when that is in doubt. */
import type { Loop } from '../base/loop.ts';
import { isLoopback } from '../client/proxy.ts';
import type { AppError } from '../domain/error.ts';
import type { Heartbeat } from './heartbeat.ts';
import type { RegistryLink } from './link.ts';
import type { RegistryTime } from './registry-time.ts';
import type { Standing } from './standing.ts';
import type { Following } from './target.ts';

/** Everything that exists while the host is a member of a registry. */
export class Member {
  readonly link: RegistryLink;
  readonly time: RegistryTime;
  readonly standing: Standing;
  readonly following: Following;
  readonly beats: Heartbeat;
  readonly checkIn: Loop;
  readonly sender: Loop;
  /** When the mark of the registry was last written, by the monotonic clock. */
  savedMs: number;

  constructor(parts: Omit<Member, 'stop'>) {
    this.link = parts.link;
    this.time = parts.time;
    this.standing = parts.standing;
    this.following = parts.following;
    this.beats = parts.beats;
    this.checkIn = parts.checkIn;
    this.sender = parts.sender;
    this.savedMs = parts.savedMs;
  }

  async stop({ leaving }: { leaving: boolean }): Promise<void> {
    await Promise.all([this.checkIn.stop(), this.sender.stop(), this.standing.stop(), this.following.stop()]);
    await this.beats.stop({ leaving });
    await this.link.close();
  }
}

/** While nobody can tell two machines apart. */
export const contestedProblem =
  'Another machine claims to be this host too, and the registry cannot tell which one is. Stop the one that is the copy, or give it a new join token with holdfast agent --join-file FILE';

/** A credential goes nowhere in the clear, whoever says so. */
export function isSafeUrl(text: string): boolean {
  const url = URL.parse(text);
  return (
    url !== null && (url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url.hostname)))
  );
}

/** What a person can do about a refusal. */
export function problemOf(refusal: AppError | null, joinProblem: string | null): string | null {
  if (refusal === null) return joinProblem;
  const tried = joinProblem === null ? '' : `; the token that it has does not (${joinProblem})`;
  return `The registry refuses this host (${refusal.message}). Give it a new join token with holdfast agent --join-file FILE${tried}`;
}
