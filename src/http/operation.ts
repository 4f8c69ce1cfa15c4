/**
 * What a handler gets and gives. An operation is everything about one call but its place: `routes.ts` gives it
 * method, path and roles. No handler knows how it was reached.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';
import type { Static, TSchema } from 'typebox';
import type { Clock } from '../base/clock.ts';
import { formatInstant } from '../base/time.ts';
import type { Caller } from '../domain/access.ts';
import type { StrictCondition } from '../domain/condition.ts';
import { AppError, type ErrorCode } from '../domain/error.ts';
import { formatPosition } from '../domain/event.ts';
import type { HostFacts } from '../domain/host.ts';
import type { VersionCondition } from '../domain/host-change.ts';
import type {
  AccessService,
  AuditService,
  ClusterService,
  ComponentHistoryService,
  ComponentService,
  DoctorService,
  EventLog,
  HostHistoryService,
  HostService,
  IdempotencyService,
  ImportService,
  LivenessService,
  NotifyService,
  Page,
  ReleaseService,
  SnapshotSource,
  TargetService,
  TokenService,
  TrainService,
  TrustService,
  UpdateService,
} from '../domain/services.ts';
import type { Admission, RequestClass } from './admission.ts';
import type { HostHistory } from './host-history.ts';
import type { BasicUser } from './legacy/basic.ts';
import type { Metrics } from './metrics.ts';
import type { WatchHub } from './watch-hub.ts';

/** The media type of answers that are no problems. */
export const jsonType = 'application/json; charset=utf-8';

export type Kind = 'agent' | 'registry';

/** What a role puts behind its server. */
export interface HttpServices {
  readonly access: AccessService;
  readonly liveness: LivenessService;
  /** The registry's; the agent has no such routes. */
  readonly hosts?: HostService;
  readonly components: ComponentService;
  /** The registry's; the agent has no such routes. */
  readonly componentHistory?: ComponentHistoryService;
  /** The registry's; the agent has no such routes. */
  readonly hostHistory?: HostHistoryService;
  /** The registry's; the agent has no such routes. */
  readonly releases?: ReleaseService;
  /** The registry's; the agent has no such routes. */
  readonly trains?: TrainService;
  /** The registry's; the agent has no such routes. */
  readonly updates?: UpdateService;
  /** The registry's; the agent has no such routes. */
  readonly clusters?: ClusterService;
  /** The registry's; the agent has no such routes. */
  readonly imports?: ImportService;
  /** The registry's; the agent has no such routes. */
  readonly doctor?: DoctorService;
  /** How callers of the old wire formats are met who show no token. */
  readonly legacy?: LegacyAccess;
  readonly tokens?: TokenService;
  readonly audit?: AuditService;
  readonly log: EventLog;
  readonly snapshots: SnapshotSource;
  /** Facts of a host by its name, for selectors over events; without it only what the event itself says is known. */
  readonly hostFacts?: (name: string) => HostFacts | undefined;
  readonly health: () => Health;
  /** Asks the store; rejects when it does not answer. The registry's. */
  readonly probeStore?: () => Promise<StoreStats>;
  /** `GET /v1/status`: the role's own words, as far as they are the caller's business. */
  readonly status: (caller: Caller) => Promise<object>;
  /** `GET /v1/config`: the effective configuration, without secrets, and its version. */
  readonly config: () => Promise<{ readonly version: number; readonly config: object }>;
  /** A consistent copy of the store as one SQLite file, read to its end or destroyed. PostgreSQL throws `unprocessable`. */
  readonly backup?: () => Promise<Readable>;
  /** Writes another admin.token into the data directory; resolves with the file. The agent keeps its own good. */
  readonly resetAdmin?: (caller: Caller) => Promise<string>;
  readonly idempotency?: IdempotencyService;
  /** The registry's; the agent has no such routes. */
  readonly trust?: TrustService;
  /** The registry's; the agent has no such routes. */
  readonly notify?: NotifyService;
  /** How an agent passes doctor reports on; none on a host without a registry. */
  readonly filing?: Pick<DoctorService, 'file'>;
  /** The agent's `GET /v1/diagnosis`. */
  readonly diagnosis?: () => Promise<object>;
  /** None while an agent holds no target. */
  readonly targets?: TargetService;
}

export interface LegacyAccess {
  /** Whoever shows nothing may do what clients of workflow-manager-api do. */
  readonly anonymous: boolean;
  /** Who may read doctor reports with a password. */
  readonly doctorReader: BasicUser | null;
}

export const checkStatuses = ['ok', 'degraded', 'failed'] as const;
export type CheckStatus = (typeof checkStatuses)[number];

export interface Check {
  readonly status: CheckStatus;
  /** For the operator who looks; no secrets, no paths of others. */
  readonly detail?: string;
  /** Of the store, as it answered just now. */
  readonly stats?: StoreStats;
}

/** What a store says when it is asked. */
export interface StoreStats {
  readonly dialect: 'sqlite' | 'postgres';
  /** Whether this process writes. */
  readonly leader: boolean;
  readonly position: string;
  /** Writes that wait for those before them. */
  readonly writesWaiting: number;
  /** The whole database, without its write-ahead log. */
  readonly sizeBytes: number;
  /** How long the answer took. */
  readonly answerMs: number;
}

export interface Health {
  /** False while it cannot serve: waiting for the store, second registry, closing. */
  readonly ready: boolean;
  readonly checks: Readonly<Record<string, Check>>;
}

/** What handlers share; one per server. */
export interface HttpContext {
  readonly kind: Kind;
  readonly services: HttpServices;
  readonly clock: Clock;
  /** `formatInstant`, with its last answer kept. */
  readonly formatInstant: (ms: number) => string;
  readonly version: string;
  readonly commit: string;
  readonly hub: WatchHub;
  /** Hosts as selectors saw them when; null where the role tells nothing of them. */
  readonly history: HostHistory | null;
  readonly metrics: Metrics;
  readonly admission: Admission;
  /** The text of `/openapi.json`, made once. */
  openApi(): string;
  /** The text of `/swagger.json`, made once. */
  swagger(): string;
  closing(): boolean;
}

export interface Call<Query = unknown, Body = unknown> {
  readonly context: HttpContext;
  readonly services: HttpServices;
  readonly caller: Caller;
  readonly params: Readonly<Record<string, string>>;
  readonly query: Query;
  readonly body: Body;
  readonly requestId: string;
  /** `Last-Event-ID` and `If-Match`, the headers that handlers ask for. */
  readonly lastEventId: string | undefined;
  readonly ifMatch: string | undefined;
}

export type Answer =
  | { readonly kind: 'json'; readonly status: number; readonly body: unknown; readonly etag?: string }
  /** JSON that is text already. */
  | {
      readonly kind: 'text';
      readonly status: number;
      readonly type: string;
      readonly text: string;
      readonly etag?: string;
      readonly headers?: Readonly<Record<string, string>>;
    }
  | { readonly kind: 'empty'; readonly status: 204 }
  | { readonly kind: 'stream'; readonly type: string; readonly stream: Readable }
  /** The handler writes the response itself, headers included, and ends it. */
  | { readonly kind: 'takeover'; readonly run: (request: IncomingMessage, response: ServerResponse) => void };

export interface Operation {
  /** OpenAPI `operationId`, and the `operation` in logs. */
  readonly id: string;
  readonly tag: string;
  readonly summary: string;
  readonly query: TSchema | null;
  readonly body: TSchema | null;
  /** True: the body may be left out. */
  readonly bodyOptional: boolean;
  readonly bodyMaxBytes: number | null;
  /** Its body may come with `Content-Encoding: gzip`; of all others that is refused. */
  readonly gzip: boolean;
  /** Successful answers by status; null has no body, a string is a media type. */
  readonly answers: Readonly<Record<number, TSchema | string | null>>;
  /** What it competes with when there is much to do (admission.ts). */
  readonly requestClass: RequestClass;
  /** What it competes with instead while its body is plain and of `limits.smallBodyBytes` at most, as its head says. */
  readonly smallClass: RequestClass | null;
  /** Serves tokens of limited scope: what it reads and writes is of hosts or applications. All others are refused to them. */
  readonly scoped: boolean;
  /** Codes beyond those that any call may meet. */
  readonly codes: readonly ErrorCode[];
  /** Takes `Idempotency-Key`. */
  readonly creates: boolean;
  /** The answer goes on for long, so HEAD cannot have the same one. */
  readonly streams: boolean;
  /** Of the old wire formats: it reads query and body itself. `anonymous`: the setting lets in whoever shows no token. */
  readonly legacy: { readonly anonymous: boolean; readonly basic: boolean } | null;
  readonly handle: (call: Call) => Answer | Promise<Answer>;
}

type BodyOf<B> = B extends TSchema ? Static<B> : undefined;
type QueryOf<Q> = Q extends TSchema ? Static<Q> : Record<string, never>;

/** Names only what differs from a plain GET; types the handler by its schemas. */
export function operation<Q extends TSchema | null = null, B extends TSchema | null = null>(
  definition: Pick<Operation, 'id' | 'tag' | 'summary' | 'answers'> &
    Partial<
      Pick<
        Operation,
        | 'bodyMaxBytes'
        | 'bodyOptional'
        | 'codes'
        | 'creates'
        | 'gzip'
        | 'legacy'
        | 'requestClass'
        | 'scoped'
        | 'smallClass'
        | 'streams'
      >
    > & {
      readonly query?: Q;
      readonly body?: B;
      readonly handle: (call: Call<QueryOf<Q>, BodyOf<B>>) => Answer | Promise<Answer>;
    },
): Operation {
  return {
    query: null,
    body: null,
    bodyOptional: false,
    bodyMaxBytes: null,
    gzip: false,
    codes: [],
    requestClass: 'read',
    smallClass: null,
    scoped: false,
    creates: false,
    streams: false,
    legacy: null,
    ...definition,
    // The schemas above are what the server validates with before it calls, so the handler's types hold.
    handle: definition.handle as Operation['handle'],
  };
}

export function ok(body: unknown): Answer {
  return { kind: 'json', status: 200, body };
}

/** JSON that its handler has made into text. */
export function jsonText(text: string): Answer {
  return { kind: 'text', status: 200, type: jsonType, text };
}

/** A single resource with the strong tag of its version. */
export function tagged(body: { readonly version: number }, status = 200): Answer {
  return { kind: 'json', status, body, etag: `"${body.version}"` };
}

/** FORMATS "Lists". */
export function listAnswer<T>(page: Page<T>, document: (item: T) => unknown): Answer {
  return ok({
    items: page.items.map(document),
    next: page.next,
    asOf: formatInstant(page.asOfMs),
    position: page.position === null ? null : formatPosition(page.position),
    stale: page.stale,
  });
}

/** A parameter that the route's own path names; empty when the path ends before it. */
export function param(call: Call, name: string): string {
  return call.params[name] ?? '';
}

/**
 * `If-Match` (RFC 9110 §13.1.1) as the versions that its tags name; null when there is none, or `*`. Throws
 * `bad-request` for what is no list of tags. A tag that is not ours, or weak, is of no version.
 */
export function readIfMatch(header: string | undefined): VersionCondition {
  const text = header?.trim();
  if (text === undefined || text === '*') return null;
  if (!/^(?:W\/)?"[^"]*"(?: *, *(?:W\/)?"[^"]*")*$/.test(text)) {
    throw new AppError('bad-request', 'Cannot read If-Match: expected tags such as "3", or *', {
      field: 'if-match',
    });
  }
  return Array.from(text.matchAll(/(?<!W\/)"(\d{1,15})"/g), ([, version]) => Number(version));
}

/** As `readIfMatch`, for configuration objects: whoever replaces or deletes one has to say which. */
export function readStrictIfMatch(header: string | undefined): StrictCondition {
  return header === undefined ? 'missing' : readIfMatch(header);
}
