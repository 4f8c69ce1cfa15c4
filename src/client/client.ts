/**
 * A client of an agent or a registry: the contracts of `domain/services.ts`, called over the wire.
 *
 *     const client = createClient({ target: { url: 'http://127.0.0.1:7421' } });
 *     if ((await client.liveness.isUp({ type: 'nova-compute', host: 'edge-1' })).up) …
 */

import { Type } from 'typebox';
import { type Clock, systemClock } from '../base/clock.ts';
import { type Random, systemRandom } from '../base/random.ts';
import type {
  AuditService,
  ComponentHistoryService,
  ComponentService,
  DoctorService,
  HostService,
  LivenessService,
  NotifyService,
  ReleaseService,
  TokenService,
  TrainService,
  UpdateService,
} from '../domain/services.ts';
import { createAudit } from './audit.ts';
import { Connection, type ConnectionOptions } from './connection.ts';
import { createDoctor } from './doctor.ts';
import { createHosts } from './host.ts';
import { createComponentHistory, createComponents } from './inventory.ts';
import { createLiveness } from './liveness.ts';
import { createNotify } from './notify.ts';
import { createReleases } from './release.ts';
import { type Answer, type ApiRequest, expectBody } from './request.ts';
import { backup, systemRequests } from './system.ts';
import { createTokens } from './token.ts';
import { createTrains } from './train.ts';
import { createUpdates } from './update.ts';
import { type WatchOptions, type WatchUpdate, watch } from './watch.ts';

export interface ClientOptions extends Omit<ConnectionOptions, 'clock' | 'random'> {
  readonly clock?: Clock;
  readonly random?: Random;
}

/**
 * All calls throw `AppError` with the code that the server answered, or a `LinkError` (code `unavailable`) when no
 * Holdfast server did. The `caller` arguments of the contracts are ignored: the server establishes who calls from the
 * token or the socket. Reads and repeatable writes are retried within the deadline.
 */
export interface HoldfastClient {
  /** Whom it talks to, for people. */
  readonly label: string;
  readonly liveness: LivenessService;
  readonly hosts: HostService;
  readonly components: ComponentService;
  readonly componentHistory: ComponentHistoryService;
  readonly releases: ReleaseService;
  readonly trains: TrainService;
  /** The registry's; an agent passes on what is filed. */
  readonly doctor: DoctorService;
  /** The registry's. */
  readonly notify: NotifyService;
  readonly updates: UpdateService;
  readonly tokens: TokenService;
  readonly audit: Omit<AuditService, 'refused'>;
  /** What happens, from a position on, across reconnects; see `WatchOptions`. */
  watch(options?: WatchOptions): AsyncGenerator<WatchUpdate, void, undefined>;
  status(): Promise<Readonly<Record<string, unknown>>>;
  config(): Promise<{ readonly version: number; readonly config: Readonly<Record<string, unknown>> }>;
  version(): Promise<{ readonly version: string; readonly commit: string; readonly wire: readonly number[] }>;
  /**
   * Writes a copy of the server's store to a new file; resolves with its size in bytes. `conflict` when it exists.
   * `finish` may still change the file before it gets its name.
   */
  backup(file: string, options?: { finish?: (partial: string) => Promise<void> }): Promise<number>;
  /** The untouched text of a JSON answer, for a path and query of the API. */
  get(path: string): Promise<string>;
  /** Any request as data, such as `livenessRequests.get(uuid)`, with the answer's text and its checked document. */
  call<T>(request: ApiRequest<T>): Promise<Answer<T>>;
  /** The same connection under another signal or deadline. */
  with(options: { signal?: AbortSignal; timeoutMs?: number }): HoldfastClient;
  /** Ends what is still running. */
  close(): Promise<void>;
}

/** Opens nothing yet. `bad-request` when the target cannot be one, or would get the token unencrypted. */
export function createClient(options: ClientOptions): HoldfastClient {
  return clientOf(new Connection({ clock: systemClock, random: systemRandom, ...options }));
}

function clientOf(connection: Connection): HoldfastClient {
  return {
    label: connection.label,
    liveness: createLiveness(connection),
    hosts: createHosts(connection),
    components: createComponents(connection),
    componentHistory: createComponentHistory(connection),
    releases: createReleases(connection),
    trains: createTrains(connection),
    doctor: createDoctor(connection),
    notify: createNotify(connection),
    updates: createUpdates(connection),
    tokens: createTokens(connection),
    audit: createAudit(connection),
    watch: (options) => watch(connection, options),
    status: async () => (await connection.call(systemRequests.status())).document,
    config: async () => (await connection.call(systemRequests.config())).document,
    version: async () => (await connection.call(systemRequests.version())).document,
    backup: (file, options) => backup(connection, file, options),
    get: async (path) =>
      (await connection.call({ method: 'GET', path, answer: expectBody(Type.Unknown()) })).text,
    call: (request) => connection.call(request),
    with: (changes) => clientOf(connection.with(changes)),
    close: () => connection.close(),
  };
}
