/**
 * The runner: the only part of Holdfast that starts foreign code. This file lists all its parts in the order in which
 * they are built; `close` undoes them in reverse.
 *
 * It takes steps that name something and never say how. What a name means stands in the host's own agent.yaml, which it
 * reads itself, or in a target whose signature it checks itself.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ensurePrivateFolder, writeFileAtomic } from '../base/atomic-file.ts';
import type { Random } from '../base/random.ts';
import { type Surroundings, surroundings } from '../base/surroundings.ts';
import { Undo } from '../base/undo.ts';
import { AppError } from '../domain/error.ts';
import { decidePlacement } from '../domain/placement.ts';
import type { SinkSpec } from '../domain/sinks.ts';
import { type Deed, type Duties, decideDuty, decideNotify, type Step } from '../domain/step.ts';
import type { Launcher } from './launcher.ts';
import type { LookOptions } from './looks.ts';
import { enter } from './presence.ts';
import { createProcessGroups } from './process-groups.ts';
import { StepRecords } from './records.ts';
import { type Handled, listenForSteps, type Question } from './server.ts';
import { type StepPoint, Steps } from './steps.ts';
import { RunnerTrust } from './trust.ts';

/** What local root has written down. */
export interface DutySource {
  /** As it is now; throws `AppError` saying what is wrong with the file. */
  read(): Promise<Duties>;
}

/** The registry of this host, and what its local root has written down for it. */
export interface RunnerForRegistry {
  /** Whose `notify.sock` is to be; whoever runs the runner when absent. */
  readonly socketOwner?: { readonly uid: number; readonly gid: number };
  /** As registry.yaml is now; throws `AppError` saying what is wrong with it. */
  readonly sinks: () => Promise<readonly SinkSpec[]>;
}

export interface RunnerOptions extends Partial<Surroundings> {
  readonly dataDir: string;
  /** Folder of `runner.sock`. */
  readonly socketDir: string;
  /** Whose the socket is to be; whoever runs the runner when absent. */
  readonly socketOwner?: { readonly uid: number; readonly gid: number };
  readonly duties: DutySource;
  /** Opens `notify.sock` too, which takes the steps of sinks and nothing else. */
  readonly registry?: RunnerForRegistry;
  /** How steps are started; process groups when absent. `owner` names this data directory. */
  readonly launcher?: (options: { readonly owner: string } & Surroundings) => Launcher;
  /** Ends at `close` what it has started; else that runs on, and the next runner takes it over. */
  readonly stopsSteps: boolean;
  /** Only for tests. */
  readonly looks?: Omit<LookOptions, 'clock'>;
  /** Only for tests. */
  readonly at?: (point: StepPoint) => void;
}

export interface Runner {
  /** `unix:/run/holdfast/runner/runner.sock` */
  readonly url: string;
  readonly dataDir: string;
  /** Rejects when it cannot go on; never resolves. */
  readonly failed: Promise<never>;
  /** For a watchdog; nothing here waits but for an answer of the system, so being asked is what shows that it moves. */
  stuckMs(): number;
  /** Calling it twice is harmless. */
  close(): Promise<void>;
}

/** `conflict` when another runner has the data directory or the socket. */
export function createRunner(options: RunnerOptions): Promise<Runner> {
  return Undo.building((undo) => build({ ...surroundings, ...options }, undo));
}

async function build(options: RunnerOptions & Surroundings, undo: Undo): Promise<Runner> {
  const { dataDir, socketDir, socketOwner, duties, registry, stopsSteps, looks, at, ...rest } = options;
  const { clock, random, logger, version, commit } = rest;

  await ensurePrivateFolder(dataDir);
  const presence = await enter({ file: join(dataDir, 'runner.json'), dataDir, random });
  undo.add('presence', () => presence.leave());

  const trust = await RunnerTrust.open({ file: join(dataDir, 'trust.json'), random });
  const owner = await ownerOf(join(dataDir, 'owner'), random);
  const launcher = (options.launcher ?? createProcessGroups)({
    owner,
    clock,
    random,
    logger,
    version,
    commit,
  });
  const { records, found } = await StepRecords.open({ folder: join(dataDir, 'steps'), random, logger });
  const steps = await Steps.open({
    clock,
    logger,
    launcher,
    records,
    found,
    crashed: presence.crashed,
    ...(looks === undefined ? {} : { looks }),
    ...(at === undefined ? {} : { at }),
  });

  const path = join(socketDir, 'runner.sock');
  const server = await listenForSteps({
    socket: { path, mode: 0o600, ...(socketOwner === undefined ? {} : { owner: socketOwner }) },
    clock,
    logger,
    handle,
  });
  undo.add('server', () => server.close());
  if (registry !== undefined) {
    const { socketOwner: owner } = registry;
    const notifyServer = await listenForSteps({
      socket: {
        path: join(socketDir, 'notify.sock'),
        mode: 0o600,
        ...(owner === undefined ? {} : { owner }),
      },
      clock,
      logger,
      handle: (request, asked) => notify(registry, request, asked),
    });
    undo.add('notify server', () => notifyServer.close());
  }
  // Before the server: whoever waits is still told how it ended.
  undo.add('steps', () => steps.close({ stop: stopsSteps }));

  let closed: Promise<void> | undefined;
  return {
    url: `unix:${path}`,
    dataDir,
    failed: Promise.withResolvers<never>().promise,
    stuckMs: () => 0,
    close: () => (closed ??= undo.run()),
  };

  async function handle(request: Question, asked: { readonly signal: AbortSignal }): Promise<Handled> {
    switch (request.op) {
      case 'run': {
        const deed = await deedOf(request.step, request.registryNowMs);
        const { result, taken } = await steps.run(request.step, deed, asked);
        return { answer: { kind: 'result', result }, taken };
      }
      case 'trust':
        await trust.name(request.hostId, request.keys);
        return status();
      case 'status':
        return status();
    }
  }

  /** The registry's socket: it has no say in what the agent may have done. */
  async function notify(
    { sinks }: RunnerForRegistry,
    request: Question,
    asked: { readonly signal: AbortSignal },
  ): Promise<Handled> {
    if (request.op !== 'run' || request.step.kind !== 'notify')
      throw new AppError(
        'forbidden',
        'Cannot do that for the registry: this socket takes the steps of sinks only',
      );
    const { result, taken } = await steps.run(request.step, decideNotify(request.step, await sinks()), asked);
    return { answer: { kind: 'result', result }, taken };
  }

  async function deedOf(step: Step, registryNowMs: number | null): Promise<Deed> {
    if (step.kind === 'notify')
      throw new AppError(
        'forbidden',
        'Cannot run the command of a sink: only the registry of this host asks for that',
      );
    if (step.kind !== 'placement') return decideDuty(step, await duties.read());
    const { allow } = await duties.read();
    return decidePlacement(step, await trust.accept(step.target, registryNowMs), allow);
  }

  async function status(): Promise<Handled> {
    const { pin } = trust;
    const problem = await duties.read().then(
      () => null,
      (error: unknown) => (error as Error).message,
    );
    return {
      answer: {
        kind: 'status',
        status: {
          version,
          launcher: launcher.kind,
          ...steps.status(),
          trust:
            pin === null
              ? null
              : {
                  hostId: pin.hostId,
                  epoch: pin.version?.epoch ?? null,
                  serial: pin.version?.serial ?? null,
                },
          problem,
        },
      },
    };
  }
}

/** What marks the steps of this data directory, made at its first start. */
async function ownerOf(file: string, random: Random): Promise<string> {
  try {
    const kept = (await readFile(file, 'utf8')).trim();
    if (/^[0-9a-f]{16}$/.test(kept)) return kept;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  const owner = Buffer.from(random.bytes(8)).toString('hex');
  await writeFileAtomic(file, `${owner}\n`, { mode: 0o600, random });
  return owner;
}
