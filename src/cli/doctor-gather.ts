/** The report of this host: what its agent tells, or else what it has left, each as far as this user may see it. */
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { reasonOf } from '../base/atomic-file.ts';
import { Mask } from '../base/mask.ts';
import { formatInstant } from '../base/time.ts';
import { COMMIT, VERSION } from '../base/version.ts';
import type { HoldfastClient } from '../client/client.ts';
import { doctorRequests } from '../client/doctor.ts';
import { inventoryRequests } from '../client/inventory.ts';
import { LinkError } from '../client/link.ts';
import { systemRequests } from '../client/system.ts';
import { findingsOf, type HostReport, type Members, membersOf } from '../domain/diagnosis.ts';
import { isAppError } from '../domain/error.ts';
import type { Identity } from '../store/identity.ts';
import { agentConfig } from './agent-config.ts';
import { type Flags, readSettings } from './config.ts';
import { checkStart } from './config-check.ts';
import type { Io } from './io.ts';
import { nonEmpty, roleLocations, upLocations } from './locations.ts';

export interface Gathered {
  readonly report: HostReport;
  readonly dataDir: string;
  /** Hides the secrets of this host in whatever else is added. */
  readonly mask: Mask;
  /** Who the host is at its registry, where that could be read while the agent is down. */
  readonly identity: Identity | null;
}

/** What to tell of besides what is out of the ordinary: components, checks and detectors by name. */
export interface Wanted {
  readonly components: readonly string[];
  readonly config: string | undefined;
}

type Draft = { -readonly [Name in keyof Omit<HostReport, 'findings'>]: HostReport[Name] };

/** So that a report stays well below `limits.doctorReportBytes`. */
const componentsMax = 1_000;
/** Everything of a report that says of the host itself, and of nothing that is installed. */
const ownDetectors = ['os-release', 'kernel', 'agent'];
/** Where the package keeps the agent's settings. */
const packageConfig = '/etc/holdfast/agent.yaml';
const systemDataDir = '/var/lib/holdfast/agent';

/** `client`: of the agent of this host; null while it does not answer, `why` says so. */
export async function gather(
  io: Io,
  flags: Flags,
  { client, why, wanted }: { client: HoldfastClient | null; why: string | null; wanted: Wanted },
): Promise<Gathered> {
  const mask = await maskOf(io, dataDirOf(io, flags));
  const draft = emptyDraft(io);
  let dataDir = dataDirOf(io, flags);
  let identity: Identity | null = null;
  if (client !== null) {
    dataDir = (await askAgent(client, draft, wanted)) ?? dataDir;
  } else {
    draft.gatheredFrom = 'files';
    if (why !== null) draft.unseen = [...draft.unseen, why];
    identity = await readFiles(io, draft, { dataDir, wanted });
  }
  const { machineResources } = await import('../agent/resources.ts');
  const { systemWords } = await import('../agent/told.ts');
  const machine = machineResources();
  const command = { command: VERSION, commit: COMMIT, node: process.versions.node };
  draft.versions = {
    program: VERSION,
    ...draft.versions,
    ...command,
    os: (await systemWords()) ?? machine.os,
    kernel: machine.kernel,
    architecture: machine.architecture,
  };
  draft.resources = { machine, ...draft.resources };
  if (draft.components.length > componentsMax) {
    draft.unseen = [
      ...draft.unseen,
      `components: ${draft.components.length} are meant, the first ${componentsMax} are told`,
    ];
    draft.components = draft.components.slice(0, componentsMax);
  }
  draft.unseen = [...draft.unseen, ...nowhere(draft, wanted)];
  draft.checks = draft.checks.map((check) =>
    withoutOutput(check, wanted.components.includes(String(check['type']))),
  );
  draft.detectors = draft.detectors.map((one) =>
    withoutOutput(one, wanted.components.includes(String(one['name']))),
  );
  const shown = mask.value(draft) as unknown as Draft;
  return { report: { ...shown, findings: findingsOf(shown) } as HostReport, dataDir, mask, identity };
}

function emptyDraft(io: Io): Draft {
  return {
    format: 1,
    at: formatInstant(io.clock.now()),
    host: null,
    gatheredFrom: 'agent',
    versions: {},
    registry: null,
    target: null,
    checks: [],
    detectors: [],
    runner: null,
    outbox: null,
    store: null,
    problems: [],
    resources: {},
    configuration: null,
    components: [],
    unseen: [],
  };
}

/** A name that nothing has is said to have nothing: it may be misspelt. */
function nowhere({ components, checks, detectors }: Draft, wanted: Wanted): string[] {
  const names = new Set([
    ...components.flatMap(({ name, detector }) => [name, detector]),
    ...checks.map(({ type }) => type),
    ...detectors.map(({ name }) => name),
  ]);
  return wanted.components
    .filter((name) => !names.has(name))
    .map((name) => `${name}: no component, check or detector that is known here has this name`);
}

/** What foreign programs said is told when somebody asks for it: no rule knows all secrets. */
function withoutOutput({ output, ...same }: Members, chosen: boolean): Members {
  return chosen && output !== undefined ? { ...same, output } : same;
}

/** Resolves with its data directory, where it says. */
async function askAgent(client: HoldfastClient, draft: Draft, wanted: Wanted): Promise<string | null> {
  let told: Members;
  try {
    told = (await client.call(doctorRequests.diagnosis())).document;
  } catch (error) {
    // read.sock is everybody's, and an agent of before knows no such question.
    if (!isAppError(error, 'forbidden') && !isAppError(error, 'not-found')) throw error;
    told = (await client.call(systemRequests.status())).document;
    draft.unseen = [
      ...draft.unseen,
      `recent errors, target and configuration: ${error.message}; ask as root, or as the user of the agent`,
    ];
  }
  const { host, inventory, version } = told as Record<string, Members | undefined>;
  draft.host = wordOf(host?.['name']);
  draft.registry = membersOf(told['registry']);
  draft.target = membersOf(told['target']) ?? membersOf(draft.registry?.['target']);
  draft.checks = listOf(told['checks']);
  draft.detectors = listOf(inventory?.['detectors']);
  draft.runner = membersOf(told['runner']);
  draft.outbox = membersOf(told['outbox']);
  draft.store = membersOf(told['store']);
  draft.problems = listOf(told['problems']);
  draft.resources = membersOf(told['resources']) ?? {};
  draft.configuration = told['configuration'] ?? null;
  draft.versions = membersOf(told['versions']) ?? (version === undefined ? {} : { program: version });
  draft.components = await askComponents(client, draft, { wanted, host: draft.host });
  return wordOf(told['dataDir']);
}

async function askComponents(
  client: HoldfastClient,
  draft: Draft,
  { wanted, host }: { wanted: Wanted; host: string | null },
): Promise<readonly Members[]> {
  if (host === null) return [];
  const found: Members[] = [];
  let cursor: string | undefined;
  try {
    do {
      const page = { limit: 1_000, ...(cursor === undefined ? {} : { cursor }) };
      const { items, next } = (await client.call(inventoryRequests.ofHost(host, page))).document;
      found.push(...items.filter((one) => isWanted(one, wanted)));
      cursor = next ?? undefined;
    } while (cursor !== undefined);
  } catch (error) {
    if (!isAppError(error)) throw error;
    draft.unseen = [...draft.unseen, `components: ${error.message}`];
  }
  return found;
}

function isWanted({ name, detector }: { name: string; detector: string }, { components }: Wanted): boolean {
  return components.length === 0
    ? ownDetectors.includes(detector)
    : components.includes(name) || components.includes(detector);
}

/** Who the host is, where that could be read. */
async function readFiles(
  io: Io,
  draft: Draft,
  { dataDir, wanted }: { dataDir: string; wanted: Wanted },
): Promise<Identity | null> {
  const unseen = (what: string) => {
    draft.unseen = [...draft.unseen, what];
  };
  await readConfiguration(io, draft, { dataDir, wanted, unseen });
  if (isMissing(dataDir)) {
    unseen(`the data directory: there is no ${dataDir}; name another with --data-dir`);
    return null;
  }
  const { folderResources } = await import('../agent/resources.ts');
  try {
    draft.resources = { dataDir: folderResources(dataDir) };
  } catch (error) {
    unseen(`the data directory ${dataDir}: ${reasonOf(error)}; ${whoCan(io, dataDir)}`);
    return null;
  }
  const { readProblems } = await import('../agent/problems.ts');
  draft.problems = (await readProblems(dataDir, ownerOf(dataDir))) as unknown as readonly Members[];
  try {
    const left = await io.roles.readLeftBehind(dataDir);
    if (left === null) {
      unseen(`the database: no agent has run in ${dataDir}`);
      return null;
    }
    const { shownTarget } = await import('../agent/told.ts');
    const { identity, target, outbox, components, check } = left;
    draft.host = identity?.name ?? null;
    draft.registry =
      identity === null
        ? { joined: false }
        : { joined: true, url: identity.registryUrl, urls: identity.urls };
    draft.target = target === null ? null : shownTarget(target, null);
    draft.outbox = outbox;
    draft.store = check === 'ok' ? { state: 'ok' } : { state: 'damaged', detail: check };
    draft.components = components.filter((one) => isWanted(one, wanted));
    return identity;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    if (isAppError(error, 'forbidden')) unseen(`the database: ${message}; ${whoCan(io, dataDir)}`);
    else if (isAppError(error, 'conflict'))
      draft.store = { state: 'in use, by a process that does not answer', detail: message };
    else draft.store = { state: 'not readable', detail: message };
    return null;
  }
}

async function readConfiguration(
  io: Io,
  draft: Draft,
  { dataDir, wanted, unseen }: { dataDir: string; wanted: Wanted; unseen: (what: string) => void },
): Promise<void> {
  const named = wanted.config ?? nonEmpty(io.env['HOLDFAST_CONFIG']);
  const isSystems = dataDir === systemDataDir && existsSync(packageConfig);
  const config = named ?? (isSystems ? packageConfig : undefined);
  const flags: Flags = { dataDir, ...(config === undefined ? {} : { config }) };
  try {
    const given = await readSettings(io, 'agent', flags);
    draft.configuration = JSON.parse(JSON.stringify({ file: config ?? null, ...agentConfig(io, given) }));
    await checkStart(io, given, flags);
  } catch (error) {
    unseen(
      `the configuration${config === undefined ? '' : ` ${config}`}: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

/** Of the agent on this machine: as named, else the first that is there, of the system or of this user. */
function dataDirOf(io: Io, flags: Flags): string {
  const named = (flags['dataDir'] as string | undefined) ?? nonEmpty(io.env['HOLDFAST_DATA_DIR']);
  const places =
    named === undefined
      ? [
          roleLocations(io, 'agent', undefined).dataDir,
          upLocations(io, undefined).agent.dataDir,
          systemDataDir,
        ]
      : [upLocations(io, named).agent.dataDir, named];
  return places.find((one) => existsSync(one)) ?? named ?? places[0] ?? systemDataDir;
}

/** Not so one that lies where this user may not look. */
function isMissing(folder: string): boolean {
  try {
    statSync(folder);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT';
  }
}

/** Secrets that this user can read here: whatever they turn up in, they are hidden. */
async function maskOf(io: Io, dataDir: string): Promise<Mask> {
  const { secretsIn } = await import('../agent/told.ts');
  const secret = /TOKEN|JOIN|PASS|SECRET|KEY|DATABASE_URL|CREDENTIAL/i;
  const variables = Object.entries(io.env).flatMap(([name, value]) =>
    value !== undefined && secret.test(name) ? [value] : [],
  );
  return new Mask([...variables, ...(await secretsIn(dataDir, ownerOf(dataDir)))]);
}

/** Root may read what is the agent's; all others only their own. */
export function ownerOf(dataDir: string): { readonly uid?: number } {
  try {
    const { uid } = statSync(dataDir);
    return process.getuid?.() === 0 ? { uid } : {};
  } catch {
    return {};
  }
}

/** The command that sees what this user cannot. */
export function whoCan({ uid }: Io, dataDir: string): string {
  try {
    const owner = statSync(dataDir).uid;
    if (owner !== uid) return `run: sudo -u '#${owner}' holdfast doctor --data-dir ${dataDir}`;
  } catch {
    return `run: sudo holdfast doctor --data-dir ${dataDir}`;
  }
  return `look at: ls -la ${join(dataDir, '.')}`;
}

/** Why nobody answered, in words; null for an error that is none of that. */
export function absence(error: unknown): string | null {
  if (error instanceof LinkError || isAppError(error, 'forbidden')) return `the agent: ${error.message}`;
  return null;
}

function listOf(value: unknown): readonly Members[] {
  if (!Array.isArray(value)) return [];
  return value.map((one: unknown) => membersOf(one)).filter((one) => one !== null);
}

function wordOf(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}
