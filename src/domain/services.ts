/**
 * Every contract on one screen. The store implements them on SQL, `http` serves them, `client` calls them over the
 * wire, the agent answers some by asking the registry. All throw `AppError`; the codes beyond the ones that any call
 * may meet (`unavailable`, `storage-full`, `internal`) stand at each method.
 */
import type { Caller, TokenRole, TokenScope } from './access.ts';
import type { AgeFilter } from './age.ts';
import type { AuditEntry, AuditVerification } from './audit.ts';
import type { Cluster, ClusterDraft, ClusterFilter, ClusterTimes, PersistentFilter } from './cluster.ts';
import type { StrictCondition } from './condition.ts';
import type { DoctorDraft, DoctorReport, DoctorSummary, DoctorWire } from './doctor.ts';
import type { Mark, Position, Revision, Selection } from './event.ts';
import type { Beat, BeatAnswer, HostView } from './host.ts';
import type { HostPatch, VersionCondition } from './host-change.ts';
import type { HostHistoryStep, HostStats, HostTurn } from './host-history.ts';
import type { ImportBatch, ImportResults } from './import.ts';
import type { CheckIn, CheckInAnswer, ComponentDifference, ComponentView } from './inventory.ts';
import type { IsUp, IsUpQuery, RecordFilter, ServicePatch, ServiceView, Status } from './liveness.ts';
import type { Moment } from './moment.ts';
import type { NotifyView, SinkTest } from './notify.ts';
import type { LatestOrder, Release, ReleaseContent, ReleaseKey, TrainKey } from './release.ts';
import type { Step, StepResult } from './step.ts';
import type { SignedTarget } from './target.ts';
import type { TokenKind, TokenRecord, TokenRequest } from './token.ts';
import type { FollowPlan, TrainView } from './train.ts';
import type { JoinTrust, Rotation, Trust } from './trust.ts';
import type { UpdateOrder } from './update.ts';
import type { VersionRange } from './version.ts';

export interface PageRequest {
  /** 1–1000. */
  readonly limit: number;
  /** Opaque, from the page before; `bad-request` when it was not. */
  readonly cursor?: string;
}

export interface Page<T> {
  readonly items: readonly T[];
  readonly next: string | null;
  readonly asOfMs: number;
  /** What to watch from so that nothing is missed; null when the answer is not this store's own. */
  readonly position: Position | null;
  readonly stale: boolean;
}

/** Which hosts a list is about: those that both name. */
export interface HostSelection {
  /** A selector over hosts. */
  readonly selector?: string;
  /** What the token of whoever asks is limited to. Never travels: a server knows it from the token. */
  readonly scope?: TokenScope;
}

/** Lists are OR inside a field, AND across; an absent field is no condition. */
export interface ServiceFilter extends RecordFilter, HostSelection {}

export interface LivenessService {
  /** Registers under a fresh uuid. `conflict` (details.holder) when (type, host) is taken, unless `takeover`. */
  register(caller: Caller, patch: ServicePatch, options: { takeover: boolean }): Promise<ServiceView>;
  /** Registers or sets (`created` tells which). `not-found` for an unknown uuid without type and host; `conflict`. */
  put(
    caller: Caller,
    uuid: string,
    patch: ServicePatch,
    options: { takeover: boolean },
  ): Promise<{ created: boolean; service: ServiceView }>;
  /** `not-found`; `taken-over` when another uuid has its place. */
  beat(caller: Caller, uuid: string): Promise<ServiceView>;
  /** One answer per uuid, in order. */
  beatMany(caller: Caller, uuids: readonly string[]): Promise<readonly BeatResult[]>;
  /** `not-found`. */
  get(uuid: string): Promise<ServiceView>;
  /** Ordered by uuid. */
  list(filter: ServiceFilter, page: PageRequest): Promise<Page<ServiceView>>;
  /** `not-found`. */
  delete(caller: Caller, at: IsUpQuery): Promise<void>;
  /** `not-found`; `bad-request` when it ends before it starts. */
  maintain(
    caller: Caller,
    uuid: string,
    plan: { startMs?: number; endMs?: number | null; note?: string | null; down?: boolean },
  ): Promise<ServiceView>;
  /** `not-found`. */
  endMaintenance(caller: Caller, uuid: string): Promise<ServiceView>;
  /** Unknown is an answer, not an error. */
  isUp(query: IsUpQuery): Promise<IsUp>;
  isUpMany(queries: readonly IsUpQuery[]): Promise<readonly IsUp[]>;
}

export type BeatResult =
  | { readonly uuid: string; readonly code: null; readonly status: Status }
  | { readonly uuid: string; readonly code: 'not-found' | 'taken-over' };

/** Everything of it has to hold, as of one moment. */
export interface HostFilter extends HostSelection, AgeFilter, AsOf {
  readonly name?: readonly string[];
  readonly region?: readonly string[];
  readonly status?: readonly Status[];
  /** Has all of these installed. */
  readonly has?: readonly VersionRange[];
}

export interface HostService {
  /**
   * A host with the same machine id and name comes back as itself, with a new credential; the old one ends.
   * `bad-request` (field) when a joiner proves no key; `unauthenticated`, `forbidden` for what its token is not good for.
   */
  join(caller: Caller, request: JoinRequest): Promise<JoinAnswer>;
  /**
   * Offers a host that proves its key a new credential; the old one stays good until the first beat with the new one.
   * `unauthenticated` for another proof and a revoked host; `identity-conflict` for a copy of the host, or one that was
   * put back to an earlier state.
   */
  renew(id: string, request: RenewalRequest): Promise<RenewalAnswer>;
  /**
   * By id or by name. As of a moment: by the name that it had then, also when it is gone since; `compacted`.
   * `not-found`.
   */
  get(idOrName: string, asOf?: Moment): Promise<HostView>;
  /** Ordered by name. `bad-request` naming both bounds for what no host can be. */
  list(filter: HostFilter, page: PageRequest): Promise<Page<HostView>>;
  /**
   * By id or by name; what is on a renamed host follows its name. `not-found`; `conflict` when the name is taken or
   * `patch.version` is stale; `precondition-failed` when the host is of none of the versions in `condition`.
   */
  change(caller: Caller, idOrName: string, patch: HostPatch, condition: VersionCondition): Promise<HostView>;
  /** By id or by name: the host with its records, components and credentials. `not-found`; `precondition-failed`. */
  remove(caller: Caller, idOrName: string, condition: VersionCondition): Promise<void>;
  /** By id or by name: ends all its credentials at once. It stays known, and may join again. `not-found`. */
  revoke(caller: Caller, idOrName: string): Promise<void>;
  /** `not-found`; `identity-conflict` for a machine that is not the host, but a copy of it. */
  beat(caller: Caller, id: string, beat: Beat): Promise<BeatAnswer>;
  /** `not-found`; `identity-conflict` while two machines claim to be the host. */
  checkIn(caller: Caller, id: string, checkIn: CheckIn): Promise<CheckInAnswer>;
  /** Exactly once in effect. `conflict` (details.expected) when a report before these is missing. */
  report(caller: Caller, id: string, batch: ReportBatch): Promise<{ readonly acked: number }>;
}

/** Which hosts: those that are meant at the beginning, at the end, or both, as they were then. */
export interface HostChangeFilter extends HostSelection, Stretch {}

export interface HostStatsQuery {
  /** For `fresh`, `stale` and `created`; default 7 days. */
  readonly withinMs?: number;
  /** Of the series; absent: none is wanted. */
  readonly stretch?: Stretch;
  /** Default: whole hours or days, 24 steps at most. */
  readonly stepMs?: number;
}

export interface HostHistoryService {
  /** What is different at the end from the beginning, whatever was between; ordered by name. As `Stretch`. */
  differences(filter: HostChangeFilter, page: PageRequest): Promise<Page<HostTurn>>;
  /** How many there are, and were. As `Stretch`; `bad-request` for too many points. */
  stats(query: HostStatsQuery): Promise<HostStats>;
}

export interface JoinRequest {
  readonly name: string;
  readonly region: string | null;
  /** Stable for this installation of the machine. */
  readonly machineId: string;
  /** What the host will prove itself with (base64 of the SPKI DER), and the signature of `joinStatement`; or neither. */
  readonly publicKey?: string;
  readonly proof?: string;
}

export interface JoinAnswer {
  readonly id: string;
  readonly name: string;
  /** Shown once. */
  readonly credential: string;
  /** How many credentials the host has had. */
  readonly generation: number;
  readonly expiresAtMs: number;
  /** What to believe the registry by from now on. */
  readonly trust: Trust;
}

export interface RenewalRequest {
  /** Of the credential that the host has. */
  readonly generation: number;
  /** The signature of `credentialStatement`. */
  readonly proof: string;
  /** As in its beats. */
  readonly machineId: string | null;
}

export interface RenewalAnswer {
  /** Shown once. */
  readonly credential: string;
  readonly generation: number;
  readonly expiresAtMs: number;
}

/** Reports of one life of an agent's outbox, in order, without holes. */
export interface ReportBatch {
  readonly epoch: number;
  readonly items: readonly Report[];
}

export interface Report {
  /** From 1, one more each. */
  readonly seq: number;
  readonly type: ReportType;
  /** When it happened, by the host's clock. */
  readonly atMs: number;
  readonly body: unknown;
}

/**
 * `service`: a record that the agent holds, as it is now. `service-deleted`: its uuid. `services`: all that it holds.
 * `host`: what the host says of itself.
 */
export const reportTypes = ['service', 'service-deleted', 'services', 'host'] as const;
export type ReportType = (typeof reportTypes)[number];

/** When it is asked for; absent: now. `bad-request` for the future, `compacted` (details.oldest) for what is not kept. */
export interface AsOf {
  readonly asOf?: Moment;
}

/** What the token of whoever asks is limited to. Never travels: a server knows it from the token. */
export interface Scoped {
  readonly scope?: TokenScope;
}

export interface ComponentFilter extends HostSelection, AsOf {
  /** Hosts that have a component in each of these ranges. */
  readonly has?: readonly VersionRange[];
}

export interface ComponentService {
  /** Of one host, by id or name; ordered by name, detector. `not-found`; `unprocessable` for a moment where none is kept. */
  ofHost(idOrName: string, page: PageRequest, at?: AsOf & Scoped): Promise<Page<ComponentView>>;
  /**
   * Over all hosts that are meant; ordered by name. A page holds fewer than asked for where many hosts have to be looked
   * at. `unprocessable` as above.
   */
  list(filter: ComponentFilter, page: PageRequest): Promise<Page<ComponentSummary>>;
}

/** From when until when; `to` is absent for now. As `AsOf`, and `bad-request` when it does not begin before its end. */
export interface Stretch {
  readonly from: Moment;
  readonly to?: Moment;
}

export interface ComponentChangeFilter extends HostSelection, Stretch {
  /** By id or by name. */
  readonly host?: string;
  /** Of the component, exactly. */
  readonly name?: string;
}

export interface ComponentHistoryService {
  /**
   * What is different at the end from the beginning, whatever was between; ordered by when hosts joined, then by name,
   * detector. A page holds fewer than asked for where many hosts have to be looked at. `not-found` for `host`.
   */
  differences(filter: ComponentChangeFilter, page: PageRequest): Promise<Page<ComponentDifference>>;
  /**
   * Each change of one host after `from`, until `to`, of itself and of its components; in the order of time, those of
   * the host itself first. By id, or by a name that it had meanwhile. `not-found`, also of a host that lay outside of the
   * scope at the end; of one that came into it, what was after that.
   */
  steps(idOrName: string, stretch: Stretch & Scoped, page: PageRequest): Promise<Page<HostHistoryStep>>;
}

export interface ReleaseService {
  /**
   * Creates or replaces (`created` tells which); the same again changes nothing. `bad-request` naming the field,
   * `too-large`, `unprocessable` when the train is full; `precondition-failed` when the release is of none of the
   * versions in `condition`.
   */
  publish(
    caller: Caller,
    key: ReleaseKey,
    content: ReleaseContent,
    condition: VersionCondition,
  ): Promise<{ readonly created: boolean; readonly release: Release }>;
  /** `not-found`. */
  get(key: ReleaseKey, at?: AsOf): Promise<Release>;
  /**
   * Of one train, the latest first: by release date, then by the date of publishing, then by the text of the version.
   * A page holds fewer than asked for where they are large.
   */
  list(key: TrainKey, page: PageRequest, at?: AsOf): Promise<Page<Release>>;
  /**
   * Exactly one of what has arrived on the train (train.ts): by date, the one that arrived last, which is the first of the
   * list where nothing is followed; by version, the first of those that no other is later than. It names the train that
   * it was published on. `not-found` when there is none.
   */
  latest(key: TrainKey, order: LatestOrder, at?: AsOf): Promise<Release>;
  /** The latest by date of each, in the order asked for; null where there is none. `too-large` for too much at once. */
  latestOf(keys: readonly TrainKey[]): Promise<readonly (Release | null)[]>;
  /** `not-found`; `precondition-failed`. */
  withdraw(caller: Caller, key: ReleaseKey, condition: VersionCondition): Promise<void>;
}

export interface TrainService {
  /** `not-found` when nothing is published on it and it follows none. */
  get(key: TrainKey, at?: AsOf): Promise<TrainView>;
  /** Of one component, ordered by name. */
  list(component: string, page: PageRequest, at?: AsOf): Promise<Page<TrainView>>;
  /**
   * From now on the one follows the other (`created`: it followed none before). `bad-request`, `unprocessable` for what
   * would follow itself; `precondition-required`, `precondition-failed`.
   */
  follow(
    caller: Caller,
    key: TrainKey,
    plan: FollowPlan,
    condition: StrictCondition,
  ): Promise<{ readonly created: boolean; readonly train: TrainView }>;
  /** It follows none any more. `not-found`; `precondition-required`, `precondition-failed`. */
  unfollow(caller: Caller, key: TrainKey, condition: StrictCondition): Promise<void>;
}

/** Reports of ill hosts, under ids that their senders choose. */
export interface DoctorService {
  /**
   * Keeps a report (`created`: under a new id). Of `v1` the same again changes nothing and another is a `conflict`; of
   * `v3` it takes the place of the first. `bad-request` naming the field, `too-large`.
   */
  file(
    caller: Caller,
    draft: DoctorDraft,
  ): Promise<{ readonly created: boolean; readonly report: DoctorSummary }>;
  /** Of one wire format or of any; the audit keeps who read it. `not-found`. */
  read(caller: Caller, id: string, wire?: DoctorWire): Promise<DoctorReport>;
  /** The latest first. */
  list(page: PageRequest): Promise<Page<DoctorSummary>>;
  /** `not-found`. */
  remove(caller: Caller, id: string): Promise<void>;
}

/** Clients of workflow-manager-api. They are no hosts: nothing is known of them but what they said, and when. */
export interface ClusterService {
  /** Replaces what it said before, and counts. `bad-request` for an id that is none, `unprocessable` beyond `limits.clustersMax`. */
  checkIn(caller: Caller, draft: ClusterDraft): Promise<Cluster>;
  /** By any spelling of its id. `not-found`. */
  get(id: string): Promise<Cluster>;
  count(): Promise<number>;
  /** Those between all bounds; `bad-request` when none can be, `too-large` when they are too many for one answer. */
  aged(filter: ClusterFilter): Promise<readonly Cluster[]>;
  /** The one that was seen first last comes first. `bad-request` as `aged`. */
  times(filter: Pick<ClusterFilter, 'createdBeforeMs' | 'createdAfterMs'>): Promise<readonly ClusterTimes[]>;
  /** As it was at the instant, whatever came later; the one that was seen first comes first. `bad-request` as `aged`. */
  persistent(filter: PersistentFilter): Promise<readonly ClusterTimes[]>;
}

export interface ImportService {
  /** One transaction; what is wrong with an item is its result. The same batch again changes nothing. */
  take(caller: Caller, batch: ImportBatch): Promise<ImportResults>;
}

export interface ComponentSummary {
  readonly name: string;
  readonly versions: readonly { readonly version: string; readonly hosts: number }[];
}

/** Telling sinks of what happens, as the rules of registry.yaml have it. */
export interface NotifyService {
  status(): Promise<NotifyView>;
  /**
   * Sends each of these sinks (null: all) a message that says that it is a test, and waits for what the other side says.
   * `not-found` for a sink that is none.
   */
  test(caller: Caller, sinks: readonly string[] | null): Promise<readonly SinkTest[]>;
}

export interface UpdateFilter extends HostSelection, AsOf {
  /** One host, by id or name. */
  readonly host?: string;
  readonly component?: string;
  /** `version` when absent. */
  readonly order?: UpdateOrder;
}

/** That a host has something older than the latest release of the train that it follows. */
export interface UpdateView {
  readonly host: string;
  readonly hostId: string;
  readonly component: string;
  readonly detector: string;
  readonly installed: string;
  readonly latest: string;
  /** That the host follows for this component. */
  readonly train: string;
  /** That the latest was published on: another one where the train follows that. */
  readonly publishedOn: string;
  readonly releasedMs: number;
  readonly image: string | null;
}

/** The same by component, of the hosts that follow one train for it. */
export interface ComponentUpdates
  extends Pick<UpdateView, 'component' | 'detector' | 'latest' | 'train' | 'publishedOn' | 'releasedMs'> {
  readonly hostsOutOfDate: number;
  readonly hostsUpToDate: number;
  /** The greatest first. */
  readonly versions: readonly { readonly version: string; readonly hosts: number }[];
}

export interface UpdatePage<T> extends Page<T> {
  /** How many installed components have no release on any train that these hosts follow for them. */
  readonly unknown: number;
}

/** What is out of date. Pages hold fewer than asked for where much had to be read. All throw `not-found` for a host. */
export interface UpdateService {
  /** One for each host and component: by component, detector, version, since when it is there, host number. */
  list(filter: UpdateFilter, page: PageRequest): Promise<UpdatePage<UpdateView>>;
  /** By component, detector and train: those that are out of date on some host. */
  byComponent(filter: UpdateFilter, page: PageRequest): Promise<UpdatePage<ComponentUpdates>>;
}

/** The part that starts foreign code. It takes steps, not commands. */
export interface RunnerService {
  /**
   * Does a step and says how it ended. The same step while it runs is joined, not started twice; so is one that an agent
   * asked for that is gone. `forbidden` for what the host does not allow or nobody signed, `not-found` for what
   * agent.yaml or the target does not name, `unprocessable` for what cannot start (details.reason `no-program`: there is
   * no such program), `rate-limited` beyond the limits, `unavailable` without a runner, and for a step that is put aside
   * because the runner has died of it (`put-aside`). An abort takes back the question; the step runs on to its end or
   * its time limit.
   */
  run(step: Step, options: { signal: AbortSignal }): Promise<StepResult>;
}

/** The ordered log as watchers read it. */
export interface EventLog {
  /** The last committed revision. */
  head(): Mark;
  /** Revisions of this epoch after this one can be read. */
  oldest(): Position;
  /**
   * Committed revisions after `after`, in order, none missing, until a limit is reached (at least one if there is one).
   * `compacted` (details.oldest) when they are gone.
   */
  read(after: number, limit: { revisions: number; bytes: number }): Promise<readonly Revision[]>;
  /** The hash of the chain up to a revision of this epoch; null when it is compacted or not written. */
  hashAt(revision: number): Promise<string | null>;
  /** Called after each commit with its revisions, in order. */
  subscribe(listener: (revisions: readonly Revision[]) => void): () => void;
}

/** What a watcher with `snapshot` gets before the events: everything selected, as of one position. */
export interface SnapshotSource {
  /** `items` yields batches lazily from a consistent view; positions and items belong together. */
  snapshot(selection: Selection): { position: Position; items: Iterable<SnapshotItem> };
}

export interface SnapshotItem {
  readonly kind: 'service' | 'host';
  /** As GET shows it. */
  readonly body: unknown;
}

/** Remembers the answers of POSTs that create, for a day. */
export interface IdempotencyService {
  /**
   * Runs `fn` once per (caller, key) and answers the first result again. `unprocessable` when the same key comes with
   * another `fingerprint`, `conflict` while the first is still running.
   */
  run(
    key: string,
    caller: Caller,
    fingerprint: string,
    fn: () => Promise<StoredAnswer>,
  ): Promise<StoredAnswer>;
}

export interface StoredAnswer {
  readonly status: number;
  readonly body: unknown;
}

/** Establishes who calls. */
export interface AccessService {
  /** Throws `unavailable` while nobody can be served, whoever calls: another registry leads. */
  admit?(): void;
  /** The caller of a bearer token; `unauthenticated` when unknown, expired or revoked. At once where it can. */
  authenticate(token: string): Caller | Promise<Caller>;
  /**
   * Whether the credential that `caller`, the very object, came from is still good: asked again and again for what
   * outlives a request. True for callers that came from no token.
   */
  stillValid?(caller: Caller): boolean;
}

/** What hosts believe a registry by. */
export interface TrustService {
  trust(): Trust;
  /** What a join token says. `unprocessable` when hosts elsewhere could not find this registry by it. */
  joinTrust(): JoinTrust;
  /**
   * The next one becomes the current one, a new next one is announced, and every host's target tells of it.
   * `unprocessable` for what this registry does not have; `conflict` within `rotationRestMs` of the last one of its
   * kind, unless `force`: then hosts that have not heard of the next one have to join anew.
   */
  rotate(caller: Caller, what: Rotation, options: { force: boolean }): Promise<Trust>;
}

export interface TargetService {
  /**
   * By id or by name; the agent's is the one that it holds. `not-found`; `identity-conflict` while
   * two machines claim to be this host.
   */
  target(idOrName: string): Promise<SignedTarget>;
}

export interface TokenFilter {
  /** API and join tokens when absent. */
  readonly kind?: readonly TokenKind[];
  readonly role?: readonly TokenRole[];
  readonly subject?: readonly string[];
}

export interface TokenService {
  /** `bad-request` naming the field; `unprocessable` for a join token while nobody knows how hosts reach this registry. */
  create(caller: Caller, request: TokenRequest): Promise<IssuedToken>;
  /** `not-found`. */
  get(id: string): Promise<TokenRecord>;
  /** Ordered by id, the oldest first. Also those that have ended, for a month. */
  list(filter: TokenFilter, page: PageRequest): Promise<Page<TokenRecord>>;
  /** Ends it at once; one that has ended already stays as it is. `not-found`. */
  revoke(caller: Caller, id: string): Promise<void>;
}

export interface IssuedToken {
  readonly record: TokenRecord;
  /** `hf_…`, or `hfj1.…` for one that joins; shown once. */
  readonly token: string;
}

export interface AuditFilter {
  readonly actor?: readonly string[];
  /** Types of events, or families: `token.*`. */
  readonly type?: readonly string[];
  readonly host?: readonly string[];
  /** From this instant on. */
  readonly sinceMs?: number;
  /** Before this instant. */
  readonly untilMs?: number;
}

export interface AuditService {
  /** The latest first. */
  list(filter: AuditFilter, page: PageRequest): Promise<Page<AuditEntry>>;
  /** Walks the whole chain of what is kept. `noted`: an end of it that somebody has kept elsewhere. */
  verify(noted?: { readonly seq: number; readonly hash: string } | null): Promise<AuditVerification>;
  /** Somebody known was refused (`token.refused`); told once a minute for each subject and operation. */
  refused(caller: Caller, operation: string, path: string): Promise<void>;
}
