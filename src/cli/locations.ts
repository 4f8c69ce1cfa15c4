/** Where things lie on this machine (DESIGN §11): data and sockets, of a user and of the system. */
import { isAbsolute, join } from 'node:path';
import type { Io } from './io.ts';

export type Role = 'registry' | 'agent';

/** The runner has places like a role, and no API: nobody asks it but the agent. */
export type Place = Role | 'runner';

export interface Locations {
  readonly dataDir: string;
  readonly socketDir: string;
}

/** Of `holdfast up`: all roles below one folder, the user's own also for root. */
export function upLocations(io: Io, dataDir: string | undefined): Readonly<Record<Place, Locations>> {
  const data = dataDir ?? userDataFolder(io);
  const runtime = dataDir === undefined ? userRuntimeFolder(io) : undefined;
  const of = (role: Place) => ({
    dataDir: join(data, role),
    socketDir: join(runtime ?? join(data, 'run'), role),
  });
  return { registry: of('registry'), agent: of('agent'), runner: of('runner') };
}

/**
 * Of one role alone. What systemd made for its unit goes first; else the system's folders for root, the user's own for
 * all others. A named folder holds everything, but sockets lie where their unit has them, for clients look there.
 */
export function roleLocations(io: Io, role: Place, dataDir: string | undefined): Locations {
  const socketDir = ofUnit(io, 'RUNTIME_DIRECTORY');
  if (dataDir !== undefined) return { dataDir, socketDir: socketDir ?? join(dataDir, 'run') };
  const usual =
    io.uid === 0
      ? { dataDir: `/var/lib/holdfast/${role}`, socketDir: systemSocketFolder(role) }
      : upLocations(io, undefined)[role];
  return { dataDir: ofUnit(io, 'STATE_DIRECTORY') ?? usual.dataDir, socketDir: socketDir ?? usual.socketDir };
}

/** A folder of the unit, systemd.exec(5): the first, when it has several. */
function ofUnit(io: Io, variable: 'STATE_DIRECTORY' | 'RUNTIME_DIRECTORY'): string | undefined {
  return absolute(io.env[variable]?.split(':')[0]);
}

/** Where the runner's socket is when nobody says: beside the agent's folder of sockets. */
export function runnerSocketBeside(agentSocketDir: string): string {
  return join(agentSocketDir, '../runner/runner.sock');
}

/** Where the runner listens for the registry when nobody says: beside the registry's folder of sockets. */
export function notifySocketBeside(registrySocketDir: string): string {
  return join(registrySocketDir, '../runner/notify.sock');
}

/** Folders in which a client looks for the role's sockets, in order. */
export function socketFolders(io: Io, role: Role): string[] {
  const dataDir = nonEmpty(io.env['HOLDFAST_DATA_DIR']);
  const runtime = userRuntimeFolder(io);
  return [
    ...(dataDir === undefined ? [] : [join(dataDir, 'run', role), join(dataDir, 'run')]),
    ...(runtime === undefined ? [] : [join(runtime, role)]),
    join(userDataFolder(io), 'run', role),
    systemSocketFolder(role),
  ];
}

function systemSocketFolder(role: Place): string {
  return `/run/holdfast/${role}`;
}

function userDataFolder(io: Io): string {
  return join(absolute(io.env['XDG_DATA_HOME']) ?? join(io.home, '.local/share'), 'holdfast');
}

/** Settings of the person who asks. */
export function userConfigFolder(io: Io): string {
  return join(absolute(io.env['XDG_CONFIG_HOME']) ?? join(io.home, '.config'), 'holdfast');
}

function userRuntimeFolder(io: Io): string | undefined {
  const folder = absolute(io.env['XDG_RUNTIME_DIR']);
  return folder === undefined ? undefined : join(folder, 'holdfast');
}

/** XDG Base Directory Specification: a relative path is invalid and ignored. */
function absolute(path: string | undefined): string | undefined {
  return path !== undefined && isAbsolute(path) ? path : undefined;
}

/** An empty variable is an unset one. */
export function nonEmpty(text: string | undefined): string | undefined {
  return text === '' ? undefined : text;
}
