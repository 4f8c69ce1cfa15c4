/** Who may do what. FORMATS "Roles". */

export const roles = ['viewer', 'reporter', 'publisher', 'operator', 'approver', 'admin', 'host'] as const;
export type Role = (typeof roles)[number];

/** Whoever makes a call, as established from its credential. */
export interface Caller {
  readonly role: Role;
  /** Written into events and logs: `local`, `token:ops`, `host:edge-1`. */
  readonly subject: string;
  /** Set for role `host`: the only host it may speak for. */
  readonly hostId?: string;
}

/** What the program does on its own account: sweeps, start-up, restore. */
export const systemCaller: Caller = { role: 'admin', subject: 'system' };
