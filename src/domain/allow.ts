/** The host's say: what a registry may make this host do. It stands in agent.yaml, which local root alone changes. */

export const drivers = ['archive', 'exec', 'files', 'systemd'] as const;
export type Driver = (typeof drivers)[number];

export const handlers = ['exec', 'http', 'snapshot', 'prometheus'] as const;
export type Handler = (typeof handlers)[number];

export interface Allow {
  readonly drivers: readonly Driver[];
  readonly handlers: readonly Handler[];
  /** Under which a registry may let something run; empty: only under users made for the one run. */
  readonly users: readonly string[];
  /** Folders (absolute, without `..`) in and below which a registry may have files written; empty: only Holdfast's own. */
  readonly paths: readonly string[];
}

/** Without a word from the host. */
export const allowDefault: Allow = {
  drivers: ['archive', 'files'],
  handlers: ['http', 'snapshot'],
  users: [],
  paths: [],
};
