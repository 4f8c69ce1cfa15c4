/** Who may do what. FORMATS "Roles". */

/** Roles that a token may have. */
export const roles = ['viewer', 'reporter', 'publisher', 'operator', 'approver', 'admin', 'host'] as const;
export type TokenRole = (typeof roles)[number];

/**
 * `reader`: whoever comes through read.sock, a viewer without secrets of others. `joiner`: whoever holds a join token,
 * which has the role host and no host yet; it may join and nothing else.
 */
export type Role = TokenRole | 'reader' | 'joiner';

/** What a token is limited to; what is absent is no limit. */
export interface TokenScope {
  /** A selector over hosts. */
  readonly hosts?: string;
  readonly apps?: readonly string[];
}

/** Whoever makes a call, as established from its credential. */
export interface Caller {
  readonly role: Role;
  /** Written into events and logs: `local`, `ops`, `host:edge-1`, `join:tok-…`. */
  readonly subject: string;
  /** Set for role `host`: the only host it may speak for. */
  readonly hostId?: string;
  /** Absent for sockets and for the program itself. */
  readonly tokenId?: string;
  readonly scope?: TokenScope;
  /** UTC milliseconds; absent where nothing expires. */
  readonly expiresAtMs?: number;
  /** The host's credential is on offer: its first beat puts it in force. */
  readonly offered?: true;
}

/** What the program does on its own account: sweeps, start-up, restore. */
export const systemCaller: Caller = { role: 'admin', subject: 'system' };
