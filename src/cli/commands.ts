/** The command table: every command with its one line, loaded when it is used. */
import type { Command } from 'commander';
import type { Context } from './context.ts';

export interface CommandEntry {
  readonly name: string;
  readonly group: 'Run it:' | 'Look at it:' | 'Look after it:';
  readonly summary: string;
  /** The module that defines options, help and action. */
  readonly load: () => Promise<{ define(command: Command, context: Context): void }>;
}

export const commands: readonly CommandEntry[] = [
  {
    name: 'up',
    group: 'Run it:',
    summary: 'agent, runner and registry for this machine, in one process',
    load: () => import('./up.ts'),
  },
  {
    name: 'registry',
    group: 'Run it:',
    summary: 'the fleet registry: import rotate reset-admin',
    load: () => import('./registry.ts'),
  },
  { name: 'agent', group: 'Run it:', summary: 'the agent of this host', load: () => import('./agent.ts') },
  {
    name: 'runner',
    group: 'Run it:',
    summary: 'the runner of this host: starts what the agent asks for',
    load: () => import('./runner.ts'),
  },
  {
    name: 'install',
    group: 'Run it:',
    summary: 'have systemd run a role on this machine',
    load: () => import('./install.ts'),
  },
  {
    name: 'status',
    group: 'Look at it:',
    summary: 'how the local agent is doing',
    load: () => import('./status.ts'),
  },
  {
    name: 'doctor',
    group: 'Look at it:',
    summary: 'what is wrong with this host, shown and sent: ls get rm',
    load: () => import('./doctor.ts'),
  },
  {
    name: 'hosts',
    group: 'Look at it:',
    summary: 'hosts of the fleet: ls get label rename revoke rm history stats',
    load: () => import('./hosts.ts'),
  },
  {
    name: 'services',
    group: 'Look at it:',
    summary: 'what is alive: ls get set is-up beat delete maintenance watch',
    load: () => import('./services.ts'),
  },
  {
    name: 'components',
    group: 'Look at it:',
    summary: 'what is installed: ls history',
    load: () => import('./components.ts'),
  },
  {
    name: 'releases',
    group: 'Look at it:',
    summary: 'what is released: publish latest ls get withdraw trains follow unfollow',
    load: () => import('./releases.ts'),
  },
  {
    name: 'updates',
    group: 'Look at it:',
    summary: 'what is out of date, of the fleet or of one host',
    load: () => import('./updates.ts'),
  },
  {
    name: 'watch',
    group: 'Look at it:',
    summary: 'changes as they happen',
    load: () => import('./watch.ts'),
  },
  {
    name: 'token',
    group: 'Look after it:',
    summary: 'tokens of people, programs and new hosts: create ls revoke',
    load: () => import('./token.ts'),
  },
  {
    name: 'login',
    group: 'Look after it:',
    summary: 'keep a server and a token for it, and ask it from now on',
    load: () => import('./login.ts'),
  },
  {
    name: 'logout',
    group: 'Look after it:',
    summary: 'end the token of a server, and forget both',
    load: () => import('./logout.ts'),
  },
  {
    name: 'context',
    group: 'Look after it:',
    summary: 'servers that login knows: ls use rm',
    load: () => import('./context-command.ts'),
  },
  {
    name: 'notify',
    group: 'Look after it:',
    summary: 'whom the registry tells of what: ls test',
    load: () => import('./notify.ts'),
  },
  {
    name: 'audit',
    group: 'Look after it:',
    summary: 'what people and tokens did: ls verify',
    load: () => import('./audit.ts'),
  },
  {
    name: 'backup',
    group: 'Look after it:',
    summary: 'write a copy of a running store',
    load: () => import('./backup.ts'),
  },
  {
    name: 'restore',
    group: 'Look after it:',
    summary: 'put a backup into a data directory',
    load: () => import('./restore.ts'),
  },
  {
    name: 'config',
    group: 'Look after it:',
    summary: 'settings of the roles: print check',
    load: () => import('./config-command.ts'),
  },
  {
    name: 'completion',
    group: 'Look after it:',
    summary: 'completion of commands and options for a shell',
    load: () => import('./completion.ts'),
  },
  {
    name: 'version',
    group: 'Look after it:',
    summary: 'which build this is',
    load: () => import('./version.ts'),
  },
];
