/** The page of the configuration files: `holdfast.yaml(5)`, from the table of settings. */
import {
  type RoleCommand,
  roleCommands,
  type SettingName,
  settings,
  settingsOf,
} from '../../src/cli/settings.ts';
import { allowDefault, drivers, handlers } from '../../src/domain/allow.ts';
import { standardDetectorNames, unitProperties } from '../../src/domain/detector.ts';
import { groupKeys } from '../../src/domain/notify.ts';
import { reference } from './command-page.ts';
import { bold, italic, Page, type PageHead } from './roff.ts';

/** A member of an entry: what it may be, and what holds without it. */
interface Member {
  readonly value: string;
  readonly help: string;
  readonly default?: string;
}

/** An entry of `checks`. */
export const checkMembers: Readonly<Record<string, Member>> = {
  type: { value: 'word', help: 'the type of the record that it keeps on this host; one check for each type' },
  http: { value: 'url', help: 'passes when it answers with one of the wanted statuses' },
  tcp: { value: 'host:port', help: 'passes when a connection is accepted' },
  exec: { value: '[command, argument…]', help: 'passes when the command exits with 0; the runner starts it' },
  process: {
    value: 'name',
    help: 'passes while a program of this file name runs, or of this path when it begins with /; the runner looks',
  },
  systemd: { value: 'unit', help: 'passes while the unit is active; the runner looks' },
  every: { value: 'duration', help: 'how often it looks', default: '30s' },
  timeout: {
    value: 'duration',
    help: 'a look that takes longer has failed; at most every',
    default: '5s',
  },
  failAfter: { value: 'count', help: 'failures in a row until the record is DOWN', default: '3' },
  passAfter: { value: 'count', help: 'passes in a row until it is UP again', default: '1' },
  status: {
    value: 'status',
    help: 'with http: a status such as 204, a range such as 200-399, or a list of these',
    default: '200-299',
  },
  match: { value: 'regexp', help: 'with http: the body has to contain a match of it' },
  user: { value: 'user', help: 'with exec: whom it runs as, never root', default: 'one made for it' },
};

/** An entry of `detectors` that is no name: all that one or another of them may have. */
export const detectorMembers: Readonly<Record<string, Member>> = {
  command: { value: '[command, argument…]', help: 'what to run; the runner starts it' },
  systemd: { value: 'unit', help: 'of which unit a property names the version; the runner asks systemd' },
  property: { value: 'word', help: `with systemd: ${unitProperties.join(', ')}`, default: 'ExecStart' },
  file: { value: 'path', help: 'in which file the version stands; the agent reads it as its own user' },
  json: { value: 'pointer', help: 'with file: where in the JSON, such as /release/version' },
  yaml: { value: 'pointer', help: 'with file: where in the YAML, such as /release/version' },
  ini: { value: 'section.key', help: 'with file: where in the INI; a key before all sections stands alone' },
  match: {
    value: 'regexp',
    help:
      'finds the version in what the command writes, in the property, or in what stands in the file: the group called ' +
      'version, such as nginx/(?<version>\\S+)',
  },
  component: { value: 'word', help: 'what the component is called; a unit has its name without it' },
  detector: { value: 'name', help: `one of ${standardDetectorNames.join(', ')}, with a time of its own` },
  every: {
    value: 'duration',
    help: 'how often it looks (5m with systemd, 1m with file; of a name its own)',
    default: '1h',
  },
  timeout: { value: 'duration', help: 'when it is given up; of a name 20s at least', default: '10s' },
  user: { value: 'user', help: 'with command: whom it runs as, never root', default: 'one made for it' },
};

/** The members of `allow`. */
export const allowMembers: Readonly<Record<string, Member>> = {
  drivers: {
    value: 'list',
    help: `how something may be put on this host: ${drivers.join(', ')}`,
    default: allowDefault.drivers.join(', '),
  },
  handlers: {
    value: 'list',
    help: `what jobs may do here: ${handlers.join(', ')}`,
    default: allowDefault.handlers.join(', '),
  },
  users: { value: 'list', help: 'under which it may run', default: 'none but users made for one run' },
  paths: {
    value: 'list',
    help: 'folders in and below which it may be written',
    default: 'none but Holdfast’s own',
  },
};

/** A sink of `notify.sinks`. */
export const sinkMembers: Readonly<Record<string, Member>> = {
  webhook: { value: 'url', help: 'is sent each message as JSON' },
  slack: { value: 'file', help: 'holds the URL of an incoming webhook, which is the secret' },
  alertmanager: { value: 'url', help: 'is sent alerts, and told again of those that fire' },
  mail: { value: 'list', help: 'one mail address, or several' },
  exec: {
    value: '[command, argument…]',
    help: 'finds each message as JSON on its stdin; the runner starts it. Exit 75 asks to be tried again',
  },
  timeout: { value: 'duration', help: 'of one delivery', default: '10s' },
  secretFile: {
    value: 'file',
    help: 'with webhook: what messages are signed with; mode 0600, as all such files',
  },
  tokenFile: { value: 'file', help: 'with webhook, alertmanager: a bearer token' },
  caFile: { value: 'file', help: 'with webhook, alertmanager, mail: certificates that are believed instead' },
  labels: { value: 'map', help: 'with alertmanager: on every alert' },
  from: { value: 'address', help: 'with mail: who sends it' },
  smtp: { value: 'url', help: 'with mail: smtp://host:port, or smtps:// for TLS from the first byte on' },
  tls: {
    value: 'word',
    help: 'with smtp://: starttls or none',
    default: 'starttls, but for a server on this machine',
  },
  login: { value: 'text', help: 'with mail: who we are there' },
  passwordFile: { value: 'file', help: 'with login: the password' },
  user: { value: 'user', help: 'with exec: whom it runs as, never root', default: 'one made for it' },
};

/** An entry of `notify.rules`. */
export const ruleMembers: Readonly<Record<string, Member>> = {
  name: { value: 'word', help: 'what the rule is called', default: 'rule-1 for the first one' },
  select: {
    value: 'map',
    help: 'as a watch selects: types, hosts (a selector), apps, services (uuid, type, host, region)',
    default: 'everything',
  },
  to: { value: 'list', help: 'names of sinks' },
  groupBy: { value: 'list', help: `what differs in one of these is told apart: ${groupKeys.join(', ')}` },
  groupWait: { value: 'duration', help: 'how long others may join the message of an event', default: '10s' },
  repeatAfter: {
    value: 'duration',
    help: 'the same thing told again within this time is told once',
    default: '1h',
  },
};

/** As they stand on the page; each is a whole file. */
export const yamlExamples: Readonly<Record<'agent' | 'registry', string>> = {
  agent: `registry: https://registry.example:7420
host:
  name: edge-1
  region: eu-west
  self: {rack: r7}
checks:
  - {type: web, http: "http://127.0.0.1/healthz", every: 10s}
  - {type: db, tcp: "127.0.0.1:5432"}
  - {type: queue, systemd: rabbitmq-server, failAfter: 2}
detectors:
  - dpkg
  - os-release
  - command: [nginx, -v]
    match: nginx/(?<version>\\S+)
    component: nginx
  - file: /opt/shop/current/package.json
    json: /version
    component: shop/web
allow:
  drivers: [archive, files]
  users: [shop]
  paths: [/srv/shop]
`,
  registry: `listen: 0.0.0.0:7420
advertiseUrl: https://registry.example:7420
logLevel: info
notify:
  sinks:
    hook:
      webhook: https://hooks.example/holdfast
      secretFile: /etc/holdfast/hook.secret
    chat: {slack: /etc/holdfast/slack.url}
    people:
      mail: [ops@example.org]
      from: holdfast@example.org
      smtp: smtp://mail.example.org
  rules:
    - name: down
      select: {types: [host.lapsed, host.returned], hosts: env=prod}
      to: [hook, chat]
    - name: releases
      select: {types: [release.*]}
      to: [people]
      groupWait: 5m
`,
};

export function yamlPage(head: Pick<PageHead, 'version' | 'date'>): string {
  const page = new Page({ name: 'holdfast.yaml', section: 5, ...head });
  page.section('Name').line('holdfast.yaml, agent.yaml, registry.yaml \\- settings of the roles of Holdfast');
  page
    .section('Description')
    .paragraphs(
      'A role reads the file that --config or HOLDFAST_CONFIG names; the units of the package name ' +
        '/etc/holdfast/agent.yaml and /etc/holdfast/registry.yaml. Flags stand above HOLDFAST_* variables, these above ' +
        'the file, and that above the defaults. Secrets never stand in it.\n' +
        'It is one YAML map, of at most 1 MiB, without anchors. A key that the role does not know is refused with its ' +
        'line and the nearest that it does: nothing is ignored. Durations are written as 500ms, 30s, 5m, 2h or 1d, or as ' +
        'seconds. A path that is not absolute begins in the folder where the role was started.\n' +
        'The runner reads agent.yaml itself, and of registry.yaml the commands of sinks, again when they have changed, ' +
        'and believes a file only while it and each folder above it can be written by nobody but root.',
    );
  page
    .section('Keys')
    .paragraphs('Where a key has a dot, the part behind it stands in the map of that name.');
  for (const name of Object.keys(settings) as SettingName[]) {
    const { key, help, env, flag } = settings[name];
    if (key === null) continue;
    const stands = [flag?.split(' ')[0], env].filter((one) => one !== undefined && one !== null);
    const also = stands.length === 0 ? 'In the file only' : `Also ${stands.join(' and ')}`;
    page.item(`${bold(key)}: ${italic(valueWords(name))}`, `${help}. ${also}. Of ${rolesOf(name)}.`);
  }
  page
    .section('Checks')
    .paragraphs(
      'A list of maps. Each keeps the service record of its type on this host: a check says UP and DOWN for a program ' +
        'that does not say so itself. It names one thing to look at: http, tcp, exec, process or systemd.',
    );
  members(page, checkMembers);
  page
    .section('Detectors')
    .paragraphs(
      `A list of names (${standardDetectorNames.join(', ')}) and of maps. A map names one source: command, systemd, ` +
        'file, or detector with one of the names. A list replaces the standard ones. What is not there is not installed; ' +
        'one that fails says so in the status, keeps what it found, and harms no other.',
    );
  members(page, detectorMembers);
  page
    .section('Allow')
    .paragraphs(
      'What a registry may make this host do: the word of whoever is root here. A key that is absent keeps its default.',
    );
  members(page, allowMembers);
  page
    .section('Notify')
    .paragraphs(
      'Whom the registry tells of what. sinks is a map of whom to tell, by names of a-z, 0-9 and -; each is one of ' +
        'webhook, slack, alertmanager, mail and exec:',
    );
  members(page, sinkMembers);
  page.paragraphs('rules is a list of maps that say which events go to which sinks:');
  members(page, ruleMembers);
  page.section('Examples').paragraphs('An agent:').example(yamlExamples.agent.trimEnd().split('\n'));
  page.paragraphs('A registry:').example(yamlExamples.registry.trimEnd().split('\n'));
  page
    .paragraphs('Whether the agent would start with it:')
    .example(['holdfast config check agent --config /etc/holdfast/agent.yaml']);
  page
    .section('See also')
    .line(
      [
        reference('holdfast', 1),
        reference('holdfast-config', 1),
        reference('holdfast-agent', 8),
        reference('holdfast-registry', 8),
      ].join(',\n'),
    );
  return page.text();
}

function members(page: Page, table: Readonly<Record<string, Member>>): void {
  for (const [name, { value, help, default: preset }] of Object.entries(table)) {
    page.item(
      `${bold(name)}: ${italic(value)}`,
      `${help}${preset === undefined ? '' : ` (default: ${preset})`}.`,
    );
  }
}

/** What may stand behind the key: the words of its flag, where it has one. */
function valueWords(name: SettingName): string {
  const { flag } = settings[name];
  if (flag === null) return name === 'allow' || name === 'notify' ? 'map' : 'list';
  const value = /<(.*)>/.exec(flag)?.[1];
  if (value === undefined) return 'true or false';
  if (name === 'self') return 'map of words';
  if (value === 'url,url') return 'url, or a list of them';
  return value.replace('|', ' or ');
}

function rolesOf(name: SettingName): string {
  const roles: RoleCommand[] = roleCommands.filter((role) => settingsOf[role].includes(name));
  return roles.join(', ');
}
