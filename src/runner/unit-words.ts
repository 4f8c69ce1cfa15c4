/**
 * The words in which systemd is asked for a transient unit, and in which it tells how that ended (systemd-run(1),
 * systemd.exec(5)). Pure; transient-units.ts speaks them.
 */
import assert from 'node:assert/strict';
import { limits } from '../base/limits.ts';
import type { StepEnd } from '../domain/step.ts';
import type { Launch } from './launcher.ts';

/** What the name of a unit says of the run: enough for a runner that knows nothing else of it. */
export interface UnitIdentity {
  /** Whose step it is: `[a-z0-9]+`, the same for each start of a runner on its data directory. */
  readonly owner: string;
  readonly name: string;
  readonly startedAtMs: number;
  readonly timeoutMs: number;
}

/** How the unit's process ended: systemd's `$SERVICE_RESULT`, `$EXIT_CODE`, `$EXIT_STATUS`. */
export interface UnitEnd {
  readonly result: string;
  readonly code: string;
  readonly status: string;
  readonly endedAtMs: number;
}

/** The units of all steps. */
export const unitPattern = 'holdfast-step-*.service';
/** It gives the command its whole environment, and stands in front of its own complaints. */
export const envProgram = '/usr/bin/env';

/** One name for one run: the end of an earlier one of the same step is never taken for its end. */
export function unitName({ name, startedAtMs, timeoutMs, owner }: UnitIdentity): string {
  return `holdfast-step-${name}.${startedAtMs}.${timeoutMs}.${owner}.service`;
}

/** Undefined when `unit` is not one of ours. */
export function readUnitName(unit: string): UnitIdentity | undefined {
  const [, name, startedAtMs, timeoutMs, owner] =
    /^holdfast-step-([a-z0-9-]{1,64})\.(\d{1,16})\.(\d{1,10})\.([a-z0-9]{1,64})\.service$/.exec(unit) ?? [];
  if (name === undefined || owner === undefined) return undefined;
  return { owner, name, startedAtMs: Number(startedAtMs), timeoutMs: Number(timeoutMs) };
}

/**
 * The arguments for systemd-run. The command gets nothing but `order.env`, also not what systemd adds of its own; it
 * stands in the arguments of `env`, and not in the unit, whose environment is also that of the command which tells of the
 * end, and that one is root's. Whoever is on this machine can read it there: no place for a secret.
 */
export function unitArguments(order: Launch, { unit, endFile }: { unit: string; endFile: string }): string[] {
  const { command, env, user } = order;
  const properties = [...limitsOf(order), ...sandbox, ...endingOf(endFile)];
  return [
    ...['--system', '--quiet', '--pipe', '--collect', '--no-ask-password', '--service-type=exec'],
    `--unit=${unit}`,
    `--description=Holdfast step ${order.name}`,
    ...(user === null ? ['--property=DynamicUser=yes'] : [`--property=User=${user}`]),
    ...properties.map((property) => `--property=${property}`),
    ...['--', envProgram, '-i', '--'],
    ...[...Object.entries(env).map(([name, value]) => `${name}=${value}`), ...command].map(literal),
  ];
}

/** As a word of a command line in a unit: systemd replaces `$X` and `${X}` there, and nothing else in what it is given whole. */
function literal(word: string): string {
  return word.replaceAll('$', '$$$$');
}

function limitsOf({ timeoutMs, limits: { memoryBytes, tasks, cpuPercent } }: Launch): string[] {
  return [
    `RuntimeMaxSec=${timeoutMs}ms`,
    `TimeoutStopSec=${limits.runnerStopMs}ms`,
    'KillMode=control-group',
    `MemoryMax=${memoryBytes}`,
    'MemorySwapMax=0',
    // All of it: half of a command is no result.
    'OOMPolicy=kill',
    'OOMScoreAdjust=800',
    `TasksMax=${tasks}`,
    `CPUQuota=${cpuPercent}%`,
    // What was in its memory stays there.
    'LimitCORE=0',
    // That it begins and ends is told by who asked for it; the journal would have it every few seconds. Not `err`: so
    // systemd tells of a command that fails faster than its start is noted, "Failed to start".
    'LogLevelMax=crit',
  ];
}

/**
 * It looks, and changes nothing but its own folder for temporary files. The network stays, for most checks need it, and
 * so do the processes of others in /proc. No MemoryDenyWriteExecute: runtimes that compile need such memory.
 */
const sandbox = [
  'CapabilityBoundingSet=',
  'AmbientCapabilities=',
  'NoNewPrivileges=yes',
  'ProtectSystem=strict',
  'ProtectHome=read-only',
  'PrivateTmp=yes',
  'PrivateDevices=yes',
  'DevicePolicy=closed',
  'PrivateMounts=yes',
  'PrivateIPC=yes',
  'RemoveIPC=yes',
  'ProtectKernelTunables=yes',
  'ProtectKernelModules=yes',
  'ProtectKernelLogs=yes',
  'ProtectControlGroups=yes',
  'ProtectClock=yes',
  'ProtectHostname=yes',
  'LockPersonality=yes',
  'KeyringMode=private',
  'RestrictNamespaces=yes',
  'RestrictRealtime=yes',
  'RestrictSUIDSGID=yes',
  'RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK',
  'SystemCallArchitectures=native',
  'SystemCallFilter=@system-service',
  'SystemCallErrorNumber=EPERM',
  'UMask=0077',
  'WorkingDirectory=/',
];

/**
 * Root's, and outside of the sandbox: its file is closed to what runs in the unit. This is all that systemd 252 also
 * reads right when it reads its units anew, as after any installation: it then knows no prefix `+`, and takes `\$`, as
 * which it has written `$`, for two characters. `exec`: what hits its limit of tasks can end too.
 */
function endingOf(endFile: string): string[] {
  assert(isPlainPath(endFile), `${endFile} would need quotes in a unit`);
  const script = `umask 077 && exec printenv SERVICE_RESULT EXIT_CODE EXIT_STATUS > ${endFile}`;
  return ['PermissionsStartOnly=yes', `ExecStopPost=/bin/sh -c '${script}'`];
}

/** Whether it stands for itself in a unit and in a shell's script. */
export function isPlainPath(path: string): boolean {
  return /^\/[\w./-]+$/.test(path);
}

/** Of the file that the unit leaves; undefined when it is not written yet. What never ran has no code and no status. */
export function readUnitEnd(text: string, endedAtMs: number): UnitEnd | undefined {
  const [, result, code = '', status = ''] = /^([a-z-]+)\n(?:([a-z]+)\n([A-Z0-9+]+)\n)?$/.exec(text) ?? [];
  return result === undefined ? undefined : { result, code, status, endedAtMs };
}

/** What the unit's end says of the step. */
export function stepEndOf(
  { result, code, status, endedAtMs }: UnitEnd,
  { startedAtMs, timeoutMs }: UnitIdentity,
): StepEnd {
  if (result === 'oom-kill') return { kind: 'out-of-memory' };
  // systemd says the same of what its command left behind and what then did not go within the time for stopping.
  const tookTooLong = code !== 'exited' || endedAtMs - startedAtMs >= timeoutMs;
  if (result === 'timeout' && tookTooLong) return { kind: 'timed-out' };
  if (code === 'exited') return { kind: 'exited', exitCode: Number(status) };
  if (code === 'killed' || code === 'dumped') return { kind: 'signalled', signal: `SIG${status}` };
  return { kind: 'lost', detail: `systemd ended it before it was started, with the result "${result}"` };
}

/** Why systemd could not start the unit, from the status that it leaves then (systemd.exec(5), "Process exit codes"). */
export function startFailure({ status }: Pick<UnitEnd, 'status'>): string {
  switch (status) {
    case '216':
    case '217':
      return 'its user cannot be had';
    case '203':
      return `${envProgram} cannot be executed, which starts it`;
    case '226':
      return 'its sandbox cannot be made; a container has to allow mount namespaces for that';
    case '228':
      return 'its system calls cannot be filtered; the kernel has to have seccomp for that';
    default:
      return `systemd could not start its unit (status ${status})`;
  }
}
