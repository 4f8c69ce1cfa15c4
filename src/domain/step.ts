/**
 * Steps: the typed orders that the runner takes. A step names what to do and never says how: the command of a check or
 * a detector stands in the host's own agent.yaml, that of a placement in the target that the registry signed. So whoever
 * gets hold of the agent can make the runner do nothing that local root or the registry has not written down.
 */
import { hash } from 'node:crypto';
import { limits } from '../base/limits.ts';
import type { Allow } from './allow.ts';
import type { CheckSpec } from './check.ts';
import type { DetectorSpec, UnitProperty } from './detector.ts';
import { AppError } from './error.ts';
import { isUserName, ownUsers } from './members.ts';
import { rpmQuery, rpmQueryMs } from './rpm.ts';
import type { SinkSpec } from './sinks.ts';
import type { SignedTarget } from './target.ts';

export type Step =
  /** A check of agent.yaml (`exec`, `process`, `systemd`), by its type. */
  | { readonly kind: 'check'; readonly check: string }
  /** A command detector of agent.yaml, by its component. */
  | { readonly kind: 'detector'; readonly component: string }
  /** A systemd detector of agent.yaml, by its component. */
  | { readonly kind: 'unit'; readonly component: string }
  /** What rpm has installed, where agent.yaml has the detector `rpm`. It names nothing: the command is ours. */
  | { readonly kind: 'rpm' }
  /** One command of a placement that the exec driver converges; `target` is what it stands in. */
  | {
      readonly kind: 'placement';
      readonly target: Pick<SignedTarget, 'body' | 'signature'>;
      /** `app/service` */
      readonly service: string;
      readonly command: 'fetch' | 'apply' | 'info';
    }
  | NotifyStep;

/** The command of a sink of registry.yaml, by the sink's name. `input` comes on its stdin. */
export interface NotifyStep {
  readonly kind: 'notify';
  readonly sink: string;
  readonly input: string;
}

/**
 * How a step ended. `passed` and `failed` are of steps that look (`process`, `systemd`); what ran a command says how that
 * ended. `lost`: it ran, but nobody knows how it ended (the runner was killed, the machine was restarted).
 */
export type StepEnd =
  | { readonly kind: 'passed' | 'failed'; readonly detail: string }
  | { readonly kind: 'exited'; readonly exitCode: number }
  | { readonly kind: 'signalled'; readonly signal: string }
  | { readonly kind: 'timed-out' | 'cancelled' | 'out-of-memory' }
  | { readonly kind: 'lost'; readonly detail: string };

export interface StepResult {
  readonly end: StepEnd;
  readonly startedAtMs: number;
  readonly durationMs: number;
  /** What it wrote, the beginning when it was too much; invalid UTF-8 replaced. */
  readonly stdout: string;
  readonly stderr: string;
  /** Bytes that were written and not kept. */
  readonly droppedBytes: number;
  /** It was started before this runner was: what it wrote meanwhile may be missing. */
  readonly adopted: boolean;
}

/** What local root has written down for the runner, in agent.yaml. */
export interface Duties {
  readonly checks: readonly CheckSpec[];
  readonly detectors: readonly DetectorSpec[];
  readonly allow: Allow;
}

/** What a step comes to: a command with whose it is, or a look that starts nothing foreign. */
export type Deed =
  | {
      readonly kind: 'command';
      readonly command: readonly string[];
      /** Null: nobody in particular. */
      readonly user: string | null;
      readonly timeoutMs: number;
      /** What it finds on stdin; nothing when absent. Whoever the runner dies under may see the end of it early. */
      readonly input?: string;
      /** What is kept of its output; absent: `limits.runnerOutputBytes`. */
      readonly outputBytes?: number;
    }
  | { readonly kind: 'process'; readonly name: string; readonly timeoutMs: number }
  | { readonly kind: 'systemd'; readonly unit: string; readonly timeoutMs: number }
  /** A property of a unit, as systemctl shows it, on stdout; `failed` when there is no such unit. */
  | {
      readonly kind: 'unit';
      readonly unit: string;
      readonly property: UnitProperty;
      readonly timeoutMs: number;
    };

/** `[a-z0-9-]{1,64}`: what the step is called while it runs; the same for the same step, and for no other. */
export function stepName(step: Step): string {
  const [kind, subject] = subjectOf(step);
  const words = subject
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, 30);
  // Two types may differ only in what a name cannot hold.
  const digest = hash('sha256', `${kind}\0${subject}`).slice(0, 12);
  return `${kind}-${words}-${digest}`.replace(/-{2,}/g, '-');
}

/** As people and messages have it: `check shop/api`. */
export function stepTitle(step: Step): string {
  const [kind, subject] = subjectOf(step);
  return `${kind} "${subject.slice(0, 128)}"`;
}

function subjectOf(step: Step): readonly [kind: string, subject: string] {
  switch (step.kind) {
    case 'check':
      return ['check', step.check];
    case 'detector':
      return ['detector', step.component];
    case 'unit':
      return ['unit', step.component];
    case 'rpm':
      return ['detector', 'rpm -qa'];
    case 'placement':
      return [step.command, step.service];
    case 'notify':
      return ['notify', step.sink];
  }
}

/** Two deeds are the same when these are. */
export function deedDigest(deed: Deed): string {
  return hash('sha256', JSON.stringify(deed));
}

/** What agent.yaml says of. */
export type DutyStep = Extract<Step, { kind: 'check' | 'detector' | 'unit' | 'rpm' }>;

/**
 * What the step of a sink comes to. `not-found` when registry.yaml names no such sink with a command, `forbidden` for a
 * user that nothing foreign may run under.
 */
export function decideNotify({ sink, input }: NotifyStep, sinks: readonly SinkSpec[]): Deed {
  const found = sinks.find(({ name }) => name === sink);
  if (found?.kind !== 'exec')
    throw new AppError(
      'not-found',
      `Cannot run notify "${sink.slice(0, 128)}": the registry.yaml that the runner reads names no such sink with exec`,
    );
  const { command, user, timeoutMs } = found;
  requireUser(user, `notify "${sink}"`);
  return { kind: 'command', command, user, timeoutMs, input };
}

/**
 * What a step of agent.yaml comes to. `not-found` when agent.yaml does not name it, `unprocessable` for a check that the
 * agent does itself, `forbidden` for a user that nothing foreign may run under.
 */
export function decideDuty(step: DutyStep, duties: Duties): Deed {
  const deed = deedOf(step, duties);
  if (deed.kind === 'command') requireUser(deed.user, stepTitle(step));
  return deed;
}

function deedOf(step: DutyStep, duties: Duties): Deed {
  switch (step.kind) {
    case 'check':
      return checkDeed(step.check, duties);
    case 'detector':
      return detectorDeed(step.component, duties);
    case 'unit':
      return unitDeed(step.component, duties);
    case 'rpm':
      return rpmDeed(duties);
  }
}

function checkDeed(type: string, { checks }: Duties): Deed {
  const found = checks.find((one) => one.type === type);
  if (found === undefined) throw unnamed('check', type);
  const { probe, timeoutMs } = found;
  switch (probe.kind) {
    case 'exec':
      return { kind: 'command', command: probe.command, user: probe.user, timeoutMs };
    case 'process':
      return { kind: 'process', name: probe.name, timeoutMs };
    case 'systemd':
      return { kind: 'systemd', unit: probe.unit, timeoutMs };
    case 'http':
    case 'tcp':
      throw new AppError(
        'unprocessable',
        `Cannot run check "${type}": it asks over ${probe.kind}, which the agent does itself`,
      );
  }
}

function detectorDeed(component: string, { detectors }: Duties): Deed {
  const found = detectors.find((one) => one.kind === 'command' && one.component === component);
  if (found?.kind !== 'command') throw unnamed('detector', component);
  const { command, user, timeoutMs } = found;
  return { kind: 'command', command, user, timeoutMs };
}

function unitDeed(component: string, { detectors }: Duties): Deed {
  const found = detectors.find((one) => one.kind === 'systemd' && one.component === component);
  if (found?.kind !== 'systemd') throw unnamed('detector', component);
  const { unit, property, timeoutMs } = found;
  return { kind: 'unit', unit, property, timeoutMs };
}

function rpmDeed({ detectors }: Duties): Deed {
  if (!detectors.some((one) => one.kind === 'standard' && one.name === 'rpm'))
    throw unnamed('detector', 'rpm');
  const outputBytes = limits.runnerPackagesBytes;
  return { kind: 'command', command: rpmQuery, user: null, timeoutMs: rpmQueryMs, outputBytes };
}

function unnamed(kind: 'check' | 'detector', name: string): AppError {
  return new AppError(
    'not-found',
    `Cannot run ${kind} "${name.slice(0, 128)}": the agent.yaml that the runner reads does not name it`,
  );
}

/** Throws `forbidden` for a user that no foreign code runs under, and for what is no name of a user. */
export function requireUser(user: string | null, title: string): void {
  if (user === null || (isUserName(user) && !ownUsers.includes(user))) return;
  throw new AppError(
    'forbidden',
    `Cannot run ${title}: as user "${user.slice(0, 64)}" nothing foreign runs; name another, or none`,
    { details: { reason: 'not-allowed' } },
  );
}
