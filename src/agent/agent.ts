/**
 * The agent: what runs on each host. This file lists all its parts in the order in which they are built; `close`
 * undoes them in reverse.
 */
import { join } from 'node:path';
import type { Logger } from '../base/log.ts';
import { startLoop } from '../base/loop.ts';
import { Loops } from '../base/loops.ts';
import { createSearch } from '../base/search.ts';
import { type Surroundings, surroundings } from '../base/surroundings.ts';
import { Undo } from '../base/undo.ts';
import type { ProxySettings } from '../client/proxy.ts';
import { type Caller, systemCaller } from '../domain/access.ts';
import { type CheckSpec, needsRunner } from '../domain/check.ts';
import { type DetectorSpec, standardDetectorSpecs } from '../domain/detector.ts';
import type { HostFacts } from '../domain/host.ts';
import { normaliseHostName } from '../domain/ids.ts';
import { type Labels, patchLabels } from '../domain/labels.ts';
import type { ComponentService, LivenessService, TargetService } from '../domain/services.ts';
import { roleSockets } from '../http/listen.ts';
import { createHttpServer, type HttpLimits } from '../http/server.ts';
import { AccessStore } from '../store/access.ts';
import { keepAdminToken } from '../store/admin-token.ts';
import { AuditStore } from '../store/audit.ts';
import { CheckRecords } from '../store/check.ts';
import { backupStream } from '../store/engine/backup-stream.ts';
import type { OpenStore } from '../store/engine/core.ts';
import { openStore } from '../store/engine/store.ts';
import { IdempotencyStore } from '../store/idempotency.ts';
import { type Identity, IdentityStore } from '../store/identity.ts';
import { LivenessStore } from '../store/liveness.ts';
import { LocalInventory } from '../store/local-inventory.ts';
import { metaStatements, readMeta, writeMeta } from '../store/meta-sql.ts';
import { Outbox } from '../store/outbox.ts';
import { PeerMarks } from '../store/peer-marks.ts';
import { RemoteAnswers } from '../store/remote-answers.ts';
import { Snapshots } from '../store/snapshots.ts';
import { HeldTargetStore } from '../store/target.ts';
import { TokenStore } from '../store/token.ts';
import { Steps } from './checks/step.ts';
import { createChecks } from './checks.ts';
import { createDetection } from './detection.ts';
import type { Detector } from './detectors/detector.ts';
import { asksRunner, detectorOf } from './detectors/of-spec.ts';
import { agentDiagnosis, filingAt } from './diagnosis.ts';
import type { JoinToken } from './join.ts';
import { AgentLiveness } from './liveness.ts';
import { linuxPaths, type MachinePaths, mintMachineId, readBootId, readMachineId } from './machine.ts';
import { MembershipFiles } from './membership.ts';
import { type Connect, connectRegistry } from './peer.ts';
import { RecentProblems, readProblems } from './problems.ts';
import { reportOf, reportOfAll, reportOfSelf } from './reports.ts';
import { type RunnerAccess, RunnerLink } from './runner-link.ts';
import { Session } from './session.ts';
import { type AgentParts, agentChecks, agentStatus, type Check } from './status.ts';
import { startSweep } from './sweep.ts';
import { TargetKeeper } from './target.ts';

export interface AgentOptions extends Partial<Surroundings> {
  readonly dataDir: string;
  /** What this host wishes to be called. */
  readonly name: string;
  /** Once it has joined, it wishes for the name that it has, whatever `name` says: that was nobody's choice. */
  readonly keepName?: boolean;
  readonly region?: string | null;
  /** What this host says of itself: `@self/…` of selectors. */
  readonly self?: Labels;
  /**
   * Null: this host stands alone. `joinToken` is needed for the first join only, and says where the registry is when
   * `url` is null. The membership is kept under `knownAs`, or else the URL: with another one the host joins anew. `ca`:
   * certificates (PEM) that are believed beside the registry's own CA; the roots of this machine when there are none.
   */
  readonly registry: {
    readonly url: string | null;
    readonly joinToken: JoinToken;
    /** Called when the host has joined with it. */
    readonly tokenUsed?: () => Promise<void>;
    readonly knownAs?: string;
    readonly ca?: readonly string[];
  } | null;
  /** On the way to the registry; none when absent. */
  readonly proxy?: ProxySettings;
  /** Where it serves, `port` 0 takes a free one; null or absent: nowhere on TCP. */
  readonly listen?: { readonly host: string; readonly port: number } | null;
  /** Where the Unix sockets go, one for each privilege; null or absent: none. */
  readonly socketDir?: string | null;
  /** A client of the registry; ours when absent. */
  readonly connect?: Connect;
  /** What `GET /v1/config` shows; no secrets. */
  readonly config?: object;
  /** What finds installed components, by name, by command, or the caller's own; the standard ones when absent. */
  readonly detectors?: readonly (DetectorSpec | Detector)[];
  /** What to look at for programs that do not tell of themselves; none when absent. */
  readonly checks?: readonly CheckSpec[];
  /** Who starts commands and looks at processes; null or absent: nobody, this host observes only. */
  readonly runner?: RunnerAccess | null;
  readonly machine?: MachinePaths;
  /** The native addon in the single binary. */
  readonly addon?: object | undefined;
  readonly limits?: Partial<HttpLimits>;
}

export interface Agent {
  /** Where it serves: `http://127.0.0.1:7421`; empty without a TCP listener. */
  readonly url: string;
  readonly dataDir: string;
  /** Rejects when it cannot go on; never resolves. */
  readonly failed: Promise<never>;
  readonly store: OpenStore;
  readonly liveness: LivenessService;
  readonly components: ComponentService;
  /** What the registry wants of this host, as it was signed. */
  readonly targets: TargetService;
  /** The records that this agent holds, for snapshots. */
  readonly own: LivenessStore;
  /** What this host is called now. */
  hostName(): string;
  /** For how long its slowest loop may have been stuck: what a watchdog asks. */
  stuckMs(): number;
  status(): Promise<Record<string, unknown>>;
  health(): { readonly ready: boolean; readonly checks: Readonly<Record<string, Check>> };
  /** Says goodbye to the registry (within 2 s), drains, flushes and closes. Calling it twice is harmless. */
  close(): Promise<void>;
}

const flushEveryMs = 30_000;
const compactEveryMs = 600_000;
/** In the database: what this host said of itself last. */
const selfKey = 'host.self';

export function createAgent(options: AgentOptions): Promise<Agent> {
  return Undo.building((undo) => build({ ...surroundings, ...options }, undo));
}

async function build(options: AgentOptions & Surroundings, undo: Undo): Promise<Agent> {
  const {
    dataDir,
    registry,
    listen = null,
    socketDir = null,
    region = null,
    self = {},
    clock,
    random,
  } = options;
  const problems = new RecentProblems(clock, await readProblems(dataDir));
  const logger = problems.listening(options.logger);
  const loops = new Loops(clock);
  const shared = { clock, random, logger, loops };

  const store = await openStore({ role: 'agent', dataDir, clock, logger, random, addon: options.addon });
  undo.add('store', () => store.close());
  undo.add('problems', () => leaveProblems(problems, { dataDir, logger }));

  const identities = new IdentityStore(store);
  let identity: Identity | null = await identities.read();
  const hostName = () => identity?.name ?? normaliseHostName(options.name);
  const facts = (): HostFacts => {
    const { region: told = region, labels = {} } = targets.held?.document.settings ?? {};
    return { id: identity?.id ?? '', name: hostName(), region: told, labels, self };
  };

  const outbox = await Outbox.open({
    store,
    reportAll: async (tx) => [reportOfAll(await own.allIn(tx), tx.now), reportOfSelf(self)],
  });
  await reportChangedSelf(store, outbox, self);
  const own: LivenessStore = await LivenessStore.open({
    store,
    clock,
    random,
    heldBy: 'agent',
    factsOf: (name) => (name === hostName() ? facts() : undefined),
    onChange: (tx, change, record) => {
      tx.onCommit(() => sweep.changed());
      return outbox.append(tx, reportOf(change, record, tx.now));
    },
  });
  const sweep = startSweep({ ...shared, own });
  undo.add('sweep', () => sweep.stop());

  let session: Session | null = null;
  const inventory = await LocalInventory.open({
    store,
    clock,
    host: () => ({ name: hostName(), id: identity?.id ?? null }),
    facts,
  });
  const detectors = options.detectors ?? standardDetectorSpecs;
  const isRunnerNeeded =
    (options.checks ?? []).some(({ probe }) => needsRunner(probe)) ||
    detectors.some((one) => !('detect' in one) && asksRunner(one));
  const runner = new RunnerLink({
    ...shared,
    runner: options.runner ?? null,
    needed: isRunnerNeeded,
    trusted: () =>
      session === null || identity === null ? null : { hostId: identity.id, keys: targets.keys(identity) },
    registryNowMs: () => session?.registryNowMs() ?? null,
    onFound: () => {
      detection.retryFailed();
      checks.retryUnknown();
    },
  });
  undo.add('runner', () => runner.stop());
  const steps = new Steps(runner.service);
  const search = createSearch();
  const detection = createDetection({
    ...shared,
    detectors: detectors.map((one) =>
      'detect' in one ? one : detectorOf(one, { clock, version: options.version, steps, search }),
    ),
    inventory,
    onComplete: () => session?.inventoryChanged(),
  });
  undo.add('detection', () => detection.stop());

  const checks = createChecks({
    ...shared,
    specs: options.checks ?? [],
    records: new CheckRecords({ store, clock, random }),
    own,
    hostName,
    steps,
    search,
  });
  undo.add('checks', () => checks.stop());

  const answers = await RemoteAnswers.open({ store, clock });
  const flush = startLoop({
    ...shared,
    name: 'flush',
    everyMs: flushEveryMs,
    firstMs: flushEveryMs,
    backoffBaseMs: flushEveryMs,
    backoffCapMs: flushEveryMs,
    run: async () => {
      await flushAll(own, answers);
      await problems.write(dataDir);
    },
  });
  undo.add('flush', async () => {
    await flush.stop();
    await flushAll(own, answers);
  });

  const targets = await TargetKeeper.open({ store, identities, targets: new HeldTargetStore(store), facts });
  session = registry === null ? null : await openSession(registry);
  if (session === null) await outbox.suspend();
  else undo.add('session', () => session.stop({ leaving: true }));

  const liveness = new AgentLiveness({
    clock,
    own,
    hostName,
    registry:
      registry === null
        ? null
        : {
            url: () => session?.status().url ?? 'which has yet to be joined',
            liveness: () => session?.peer?.liveness ?? null,
          },
    answers,
  });

  const audit = new AuditStore({ store, clock });
  const idempotency = new IdempotencyStore({ store, clock });
  const compaction = startLoop({
    ...shared,
    name: 'compact',
    everyMs: compactEveryMs,
    firstMs: compactEveryMs,
    backoffBaseMs: 60_000,
    backoffCapMs: compactEveryMs,
    run: async ({ signal }) => {
      await store.compact({ signal });
      await idempotency.forget();
      await access.forget();
      await audit.forget();
    },
  });
  undo.add('compact', () => compaction.stop());

  const access = await AccessStore.open({ store, clock, random });
  await keepAdminToken({ access, file: join(dataDir, 'admin.token') });

  const parts: AgentParts = {
    store,
    outbox,
    inventory,
    detection,
    checks,
    runner,
    needsRunner: isRunnerNeeded,
    session,
    targets,
    host: () => ({ id: identity?.id ?? null, name: hostName() }),
  };
  const health = () => ({ ready: store.health().state !== 'failed', checks: agentChecks(parts) });
  const status = async (caller: Caller = systemCaller) => ({
    version: options.version,
    dataDir,
    // `read.sock` is everybody's on this machine.
    ...agentStatus(parts, { output: caller.role !== 'reader' }),
  });

  const server = await createHttpServer({
    kind: 'agent',
    services: {
      access,
      liveness,
      components: inventory,
      ...(session === null ? {} : { targets, filing: filingAt(() => session?.peer ?? null) }),
      diagnosis: async () =>
        agentDiagnosis(parts, {
          dataDir,
          problems: problems.list(),
          config: options.config ?? {},
          version: options.version,
          commit: options.commit,
        }),
      tokens: new TokenStore({ store, clock, access, joinText: null }),
      audit,
      log: store.log,
      idempotency,
      snapshots: new Snapshots({ store, clock, liveness: own }),
      hostFacts: (name) => (name === hostName() ? facts() : undefined),
      health,
      status,
      config: async () => ({ version: 1, config: options.config ?? {} }),
      backup: () => backupStream(store, dataDir),
    },
    ...shared,
    version: options.version,
    commit: options.commit,
    limits: options.limits ?? {},
  });
  undo.add('server', () => server.close());
  const bound = await server.listen([
    ...(listen === null ? [] : [{ kind: 'tcp', ...listen } as const]),
    ...(socketDir === null ? [] : roleSockets('agent', socketDir)),
  ]);
  own.ready();
  // Behind the sockets: reading what dpkg knows takes as long as a tenth of the start.
  detection.start();
  checks.start();
  runner.start();

  let closed: Promise<void> | undefined;
  return {
    url: listen === null ? '' : (bound[0]?.url ?? ''),
    dataDir,
    failed: Promise.withResolvers<never>().promise,
    store,
    liveness,
    components: inventory,
    targets,
    own,
    hostName,
    stuckMs: () => loops.stuckMs(),
    status: () => status(),
    health,
    close: () => (closed ??= undo.run()),
  };

  async function openSession({
    url,
    joinToken,
    tokenUsed,
    knownAs,
    ca = [],
  }: NonNullable<AgentOptions['registry']>): Promise<Session> {
    const proxied = options.proxy === undefined ? {} : { proxy: options.proxy };
    const machine = options.machine ?? linuxPaths;
    const machineId =
      (await readMachineId(machine)) ?? (await identities.keptMachineId(mintMachineId(random)));
    const opened = await Session.start({
      ...shared,
      store,
      identities,
      inventory,
      outbox,
      peerMarks: await PeerMarks.open(store),
      targets,
      files: new MembershipFiles(dataDir),
      registryUrl: url,
      ca,
      knownAs,
      name: options.keepName === true ? hostName() : options.name,
      region,
      machineId,
      bootId: await readBootId(machine, random),
      token: joinToken,
      tokenUsed,
      connect: options.connect ?? ((to) => connectRegistry({ ...to, ...proxied, clock, random })),
      inventoryReady: () => detection.complete,
      onMember: async (member) => {
        identity = member;
        runner.wake();
        await moveRecords(own, member.name);
      },
    });
    const unsubscribe = [
      inventory.onChanged(() => opened.inventoryChanged()),
      outbox.onQueued(() => opened.reportQueued()),
    ];
    for (const stop of unsubscribe) undo.add('wakes', stop);
    return opened;
  }
}

/** What was said before the configuration changed is said anew; to a registry that is new, everything is (`reportAll`). */
async function reportChangedSelf(store: OpenStore, outbox: Outbox, self: Labels): Promise<void> {
  const meta = metaStatements(store.dialect);
  const text = JSON.stringify(patchLabels({}, self, 'self'));
  if ((await store.read((session) => readMeta(session, meta, selfKey))) === text) return;
  await store.write(systemCaller, async (tx) => {
    await writeMeta(tx, meta, selfKey, text);
    await outbox.append(tx, reportOfSelf(self));
  });
}

/** The registry gave this host another name than the one under which it had registered records. */
async function moveRecords(own: LivenessStore, hostName: string): Promise<void> {
  const strangers = own.records().filter((record) => record.host !== hostName);
  for (const { uuid } of strangers) await own.moved(systemCaller, uuid, hostName);
}

/** What the agent was told of is still in memory when the disk is what fails. */
async function leaveProblems(
  problems: RecentProblems,
  { dataDir, logger }: { dataDir: string; logger: Logger },
): Promise<void> {
  await problems
    .write(dataDir)
    .catch((err: unknown) => logger.warn({ err }, 'could not leave the last problems in the data directory'));
}

async function flushAll(own: LivenessStore, answers: RemoteAnswers): Promise<void> {
  await own.flush();
  await answers.flush();
}
