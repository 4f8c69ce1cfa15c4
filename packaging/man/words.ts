/** What no table of the code says: the meaning of variables, and what lies where. */
import type { ClientVariable } from '../../src/cli/variables.ts';

/** Of clients, and of every command. */
export const variables: Readonly<Record<ClientVariable, string>> = {
  HOLDFAST_URL: 'The server to ask, as --url',
  HOLDFAST_SOCKET: 'The folder of the sockets of a role on this machine, as --socket',
  HOLDFAST_CONTEXT: 'A server that "holdfast login" knows, as --context',
  HOLDFAST_TOKEN: 'The token itself, where there is no --token-file',
  HOLDFAST_TIMEOUT: 'How long to wait for an answer, as --timeout',
  HOLDFAST_PASSPHRASE: 'The passphrase of the keys in a backup, where there is no --passphrase-file',
  HOLDFAST_CONFIG: 'The file with the settings of a role, as --config',
  HOLDFAST_STEP: 'What the runner marks a program with that it starts; never to be set by anybody else',
  HOLDFAST_JOIN: 'The join token itself, where there is no --join-file',
  HOLDFAST_IMPORT_URL: 'Where "holdfast registry import" reads from: postgres://user:password@host/database',
};

/** Not ours, and heeded. */
export const foreignVariables: Readonly<Record<string, string>> = {
  'HTTPS_PROXY, HTTP_PROXY, NO_PROXY': 'The proxy for servers that are not on this machine, as curl has it',
  NO_COLOR: 'No colors, whatever the terminal',
  'XDG_DATA_HOME, XDG_RUNTIME_DIR, XDG_CONFIG_HOME, XDG_CACHE_HOME':
    'Where a person keeps data, sockets, contexts and the unpacked SQLite',
};

/** What systemd tells a role. */
export const unitVariables: Readonly<Record<string, string>> = {
  'STATE_DIRECTORY, RUNTIME_DIRECTORY': 'The folders of its unit, where no option names others',
  'NOTIFY_SOCKET, WATCHDOG_USEC': 'Where it says that it is ready and that it moves, sd_notify(3)',
};

const unitNames: Readonly<Record<string, string>> = {
  agent: 'holdfast-agent.service',
  registry: 'holdfast-registry.service',
  runner: 'holdfast-runner.service',
};

/** The systemd unit of a role. */
export function unitOf(name: string): string | undefined {
  return unitNames[name];
}

const ofAgent = {
  '/etc/holdfast/agent.yaml': 'Settings of the unit holdfast-agent.service, and of the runner beside it',
  '/var/lib/holdfast/agent': 'What it keeps: its database, its identity and credential, admin.token',
  '/run/holdfast/agent/admin.sock': 'Its API with all rights, for root and its own user',
  '/run/holdfast/agent/agent.sock':
    'Its API for programs that register services, for members of the group holdfast',
  '/run/holdfast/agent/read.sock': 'Its API to look at, for everybody on the machine',
} as const;

const ofRegistry = {
  '/etc/holdfast/registry.yaml': 'Settings of the unit holdfast-registry.service',
  '/var/lib/holdfast/registry':
    'What it keeps: its database, keys/ (back them up), ca.pem and admin.token of its first start',
  '/run/holdfast/registry/admin.sock': 'Its API with all rights, for root and its own user',
  '/run/holdfast/registry/read.sock': 'Its API to look at, for everybody on the machine',
} as const;

const ofPeople = {
  '~/.local/share/holdfast': 'What "holdfast up" keeps, for each role',
  '~/.config/holdfast/contexts.yaml':
    'Servers and tokens that "holdfast login" keeps; nobody else can read it',
  '~/.cache/holdfast': 'SQLite, unpacked once, where the package has not installed it',
} as const;

/** All of them, for the page of the program. */
export const allFiles: Readonly<Record<string, string>> = { ...ofAgent, ...ofRegistry, ...ofPeople };

/** Per command, where it has some. */
export const commandFiles: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  agent: ofAgent,
  registry: ofRegistry,
  runner: {
    '/etc/holdfast/agent.yaml':
      'Whose commands it runs, and what a registry may make this host do; believed while only root can write it',
    '/var/lib/holdfast/runner': 'Steps that run, and the keys by which it knows the registry',
    '/run/holdfast/runner/runner.sock': 'Where the agent asks; only its user can',
  },
  up: { '~/.local/share/holdfast': ofPeople['~/.local/share/holdfast'] },
  login: { '~/.config/holdfast/contexts.yaml': ofPeople['~/.config/holdfast/contexts.yaml'] },
  logout: { '~/.config/holdfast/contexts.yaml': ofPeople['~/.config/holdfast/contexts.yaml'] },
  context: { '~/.config/holdfast/contexts.yaml': ofPeople['~/.config/holdfast/contexts.yaml'] },
  completion: {
    '/usr/share/bash-completion/completions/holdfast': 'For bash, of the package',
    '/usr/share/zsh/vendor-completions/_holdfast': 'For zsh, of the package',
    '/usr/share/fish/vendor_completions.d/holdfast.fish': 'For fish, of the package',
  },
};
