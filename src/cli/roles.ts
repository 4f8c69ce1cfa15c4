/**
 * The roles as the command line sees them: what each needs to start, and what a running one offers. `main.ts` runs
 * with the built-in ones, tests with their own.
 */
import type { Clock } from '../base/clock.ts';
import type { Logger, LogLevel } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import type { ProxySettings } from '../client/proxy.ts';
import type { Allow } from '../domain/allow.ts';
import type { CheckSpec } from '../domain/check.ts';
import type { DetectorSpec } from '../domain/detector.ts';
import type { NotifyPlan } from '../domain/notify.ts';
import type { LeftBehind } from '../store/left-behind.ts';

export interface Listen {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
}

interface RoleConfig {
  readonly dataDir: string;
  readonly listen: Listen;
  /** Folder of the role's Unix sockets. */
  readonly socketDir: string;
  readonly logLevel: LogLevel;
}

/** `own`: a certificate of its own CA; `given`: in files that somebody else keeps. */
export type TlsConfig =
  | { readonly kind: 'own' | 'off' }
  | { readonly kind: 'given'; readonly certFile: string; readonly keyFile: string };

export interface RegistryConfig extends RoleConfig {
  readonly tls: TlsConfig;
  readonly advertiseUrls: readonly string[];
  readonly behindProxy: boolean;
  /** Clients of workflow-manager-api need no token. */
  readonly legacyAnonymous: boolean;
  /** Who may read doctor reports with a password; null: nobody. */
  readonly doctorReader: DoctorReader | null;
  /** A secret; null: the embedded SQLite. */
  readonly databaseUrl: string | null;
  /** Whom it tells of what. */
  readonly notify: NotifyPlan;
  /** On the way to sinks. */
  readonly proxy?: ProxySettings;
  /** Where the runner listens for it; null: there is none. */
  readonly runnerSocket: string | null;
}

/** The password is a secret, given or in a file. */
export interface DoctorReader {
  readonly user: string;
  readonly password: string | null;
  readonly passwordFile: string | null;
}

/** What agent.yaml says of what the host looks at, and what it lets a registry do: agent and runner both read it. */
export interface HostOrders {
  readonly checks: readonly CheckSpec[];
  readonly detectors: readonly DetectorSpec[];
  readonly allow: Allow;
}

export interface AgentConfig extends RoleConfig, HostOrders {
  readonly registry: RegistryAccess | null;
  /** The wished host name; the registry has the last word. */
  readonly name: string;
  /** Nobody chose that name: a host that has joined keeps the one that it has. */
  readonly keepName: boolean;
  readonly region: string | null;
  /** What the host says of itself. */
  readonly self: Readonly<Record<string, string>>;
  /** On the way to the registry. */
  readonly proxy?: ProxySettings;
  /** Socket of the runner; null: there is none. */
  readonly runnerSocket: string | null;
}

export interface RunnerConfig extends Omit<RoleConfig, 'listen'> {
  /** Who is given the socket; null: nobody else. */
  readonly agentUser: string | null;
  /** agent.yaml, or the file of `up`; null: nothing is written down for the runner. */
  readonly orders: { readonly file: string; readonly role: 'agent' | 'up' } | null;
  /** registry.yaml, or the file of `up`, and whose notify.sock is; null: it does nothing for a registry. */
  readonly registry: {
    readonly user: string | null;
    readonly orders: { readonly file: string; readonly role: 'registry' | 'up' } | null;
  } | null;
  /** Ends what it has started when it is stopped. */
  readonly stopsSteps: boolean;
}

export interface RegistryAccess {
  /** Null: where the join token says. */
  readonly url: string | null;
  /** Read only when the agent joins, so that one that has joined starts without it. Null: it has to have joined. */
  readonly joinToken: (() => Promise<string>) | null;
  /** Called when the agent has joined with it. */
  readonly tokenUsed?: () => Promise<void>;
  /** Certificates (PEM) that are believed beside the registry's own CA. */
  readonly caFile?: string;
  /** What the agent remembers this registry by; its URL when absent. */
  readonly knownAs?: string;
}

export interface RoleContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Aborts a start that is under way. A running role is ended by `close`. */
  readonly signal: AbortSignal;
}

/** A role that is ready: its database is open and its sockets are bound. */
export interface RunningRole {
  readonly url: string;
  readonly dataDir: string;
  /** Drains, flushes, and frees everything. */
  close(): Promise<void>;
  /** Rejects when the role cannot go on; never resolves. */
  readonly failed: Promise<never>;
  /** For how long its slowest loop may have been stuck; 0 when all wait for something to do. */
  stuckMs(): number;
}

export interface RunningRegistry extends RunningRole {
  /** A join token for one host, soon. */
  joinToken(): Promise<string>;
}

export interface RestoreRequest {
  /** A backup, as `holdfast backup` wrote it. */
  readonly file: string;
  readonly dataDir: string;
  /** Over a folder that holds a store already: keeps the old one beside it. */
  readonly force: boolean;
  /** Of the keys in the backup; asked only when there are any. Null: none was given. */
  readonly passphrase: () => Promise<string | null>;
}

export interface ResetAdminRequest {
  readonly dataDir: string;
  /** A secret; null: the embedded SQLite. */
  readonly databaseUrl: string | null;
}

export interface Roles {
  /** Writes another admin.token for a registry that does not run; resolves with the file. `not-found`, `conflict`. */
  resetAdmin(request: ResetAdminRequest, context: RoleContext): Promise<string>;
  startRegistry(config: RegistryConfig, context: RoleContext): Promise<RunningRegistry>;
  startAgent(config: AgentConfig, context: RoleContext): Promise<RunningRole>;
  startRunner(config: RunnerConfig, context: RoleContext): Promise<RunningRole>;
  /**
   * Puts a backup into a data directory and begins a new epoch. `conflict` when a role runs there, or when it holds a
   * store and `force` is not given. `kept` is where the old store went.
   */
  restore(
    request: RestoreRequest,
    context: RoleContext,
  ): Promise<{ readonly role: 'registry' | 'agent'; readonly keys: boolean; readonly kept: string | null }>;
  /**
   * What an agent that does not run has left; null when none has ever run there. `forbidden` when the directory is
   * somebody else's, `conflict` when a process owns it.
   */
  readLeftBehind(dataDir: string): Promise<LeftBehind | null>;
  /** Seals the registry's key files into a backup that has just been written. */
  addKeys(request: { file: string; dataDir: string; passphrase: string }): Promise<void>;
}
