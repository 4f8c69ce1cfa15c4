/**
 * Sinks: whom the registry tells, as `notify.sinks` of registry.yaml names them. What is secret of one stands in a file
 * of its own, never here. Pure; who speaks to them is registry/notify/.
 */
import { limits } from '../base/limits.ts';
import { AppError } from './error.ts';
import {
  Members,
  type Place,
  readCommand,
  readDuration,
  readList,
  readText,
  readUser,
  unusable,
} from './members.ts';

interface SinkCommon {
  readonly name: string;
  /** For one delivery, connecting included. */
  readonly timeoutMs: number;
}

/** Told by HTTP POST of JSON. */
export interface WebhookSpec extends SinkCommon {
  readonly kind: 'webhook';
  readonly url: string;
  /** Holds the key that deliveries are signed with; null: they are not. */
  readonly secretFile: string | null;
  /** Holds a bearer token. */
  readonly tokenFile: string | null;
  /** Certificates that are believed instead of this machine's. */
  readonly caFile: string | null;
}

/** Told in words by an incoming webhook, whose URL is the secret. */
export interface SlackSpec extends SinkCommon {
  readonly kind: 'slack';
  readonly urlFile: string;
}

/** Told of alerts by version 2 of its API. */
export interface AlertmanagerSpec extends SinkCommon {
  readonly kind: 'alertmanager';
  readonly url: string;
  /** On every alert. */
  readonly labels: Readonly<Record<string, string>>;
  readonly tokenFile: string | null;
  readonly caFile: string | null;
}

/** `tls` from the first byte, `starttls` before anything that matters, `none` in the clear. */
export type MailSecurity = 'tls' | 'starttls' | 'none';

/** Told by mail. */
export interface MailSpec extends SinkCommon {
  readonly kind: 'mail';
  readonly to: readonly string[];
  readonly from: string;
  readonly host: string;
  readonly port: number;
  readonly security: MailSecurity;
  readonly login: string | null;
  readonly passwordFile: string | null;
  readonly caFile: string | null;
}

/** Told on stdin of a command that the runner starts, which reads it from the same file itself. */
export interface ExecSpec extends SinkCommon {
  readonly kind: 'exec';
  readonly command: readonly string[];
  /** Null: nobody in particular. */
  readonly user: string | null;
}

export type SinkSpec = WebhookSpec | SlackSpec | AlertmanagerSpec | MailSpec | ExecSpec;

export const sinkKinds = ['webhook', 'slack', 'alertmanager', 'mail', 'exec'] as const;
export type SinkKind = (typeof sinkKinds)[number];

/** Beside the kind and `timeout`. */
const membersOf: Readonly<Record<SinkKind, readonly string[]>> = {
  webhook: ['secretFile', 'tokenFile', 'caFile'],
  slack: [],
  alertmanager: ['labels', 'tokenFile', 'caFile'],
  mail: ['from', 'smtp', 'tls', 'login', 'passwordFile', 'caFile'],
  exec: ['user'],
};

const timeoutDefaultMs = 10_000;
const recipientsMax = 100;
const labelsMax = 32;

/** `notify.sinks`: a map of sinks by name. Throws `bad-request` naming the place. */
export function readSinks(place: Place): readonly SinkSpec[] {
  const { path, value } = place;
  const expected = 'a map of sinks by name, such as {ops: {webhook: "https://hooks.example/holdfast"}}';
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw unusable(place, expected);
  const entries = Object.entries(value);
  if (entries.length > limits.notifySinksMax)
    throw new AppError(
      'bad-request',
      `Cannot use ${path}: it has ${entries.length} sinks, expected at most ${limits.notifySinksMax}`,
      { field: path },
    );
  return entries.map(([name, sink]) => {
    if (!/^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$/.test(name))
      throw new AppError(
        'bad-request',
        `Cannot use ${path}: ${JSON.stringify(name.slice(0, 80))} is no name of a sink, expected a-z, 0-9 and "-", such as ops-chat`,
        { field: path },
      );
    return readSink(name, { path: `${path}/${name}`, value: sink });
  });
}

/** Where a sink is, for people: what may be a secret is left out. */
export function sinkTarget(sink: SinkSpec): string {
  switch (sink.kind) {
    case 'webhook':
    case 'alertmanager':
      return new URL(sink.url).origin;
    case 'slack':
      return sink.urlFile;
    case 'mail':
      return sink.to.join(', ');
    case 'exec':
      return sink.command[0] ?? '';
  }
}

/** A sink for people who may not know what is secret of it. */
export function shownSink(sink: SinkSpec): object {
  const { name, kind, timeoutMs } = sink;
  return { name, kind, target: sinkTarget(sink), timeoutMs };
}

function readSink(name: string, place: Place): SinkSpec {
  const all = [...sinkKinds, 'timeout', ...new Set(Object.values(membersOf).flat())];
  const members = new Members(place, all, 'a sink, such as {webhook: "https://hooks.example/holdfast"}');
  const [kind, second] = sinkKinds.filter((one) => members.has(one));
  if (kind === undefined || second !== undefined) {
    const why = second === undefined ? 'it does not say what it is' : `it has both ${kind} and ${second}`;
    throw new AppError(
      'bad-request',
      `Cannot use ${place.path}: ${why}, expected one of ${sinkKinds.join(', ')}`,
      { field: place.path },
    );
  }
  for (const key of all) {
    const isOurs = key === 'timeout' || key === kind || membersOf[kind].includes(key);
    if (!isOurs && members.has(key))
      throw unusable(members.at(key), `nothing: a sink with ${kind} has none`, `"${key}"`);
  }
  const timeoutMs = members.get(
    'timeout',
    (at) => readDuration(at, { minMs: 100, maxMs: limits.notifyTimeoutMs }),
    timeoutDefaultMs,
  );
  const common = { name, timeoutMs };
  const main = members.at(kind);
  const file = (key: string) => members.get<string | null>(key, readFilePath, null);
  switch (kind) {
    case 'webhook': {
      const url = readTargetUrl(main);
      const tokenFile = file('tokenFile');
      requireSecret(members, url, tokenFile);
      return { kind, ...common, url, secretFile: file('secretFile'), tokenFile, caFile: file('caFile') };
    }
    case 'slack':
      // Whoever writes the URL itself here has written down a secret: it is not repeated.
      if (typeof main.value !== 'string' || !main.value.startsWith('/'))
        throw unusable(
          main,
          'the path of a file that holds the URL of the incoming webhook',
          'something else',
        );
      return { kind, ...common, urlFile: readFilePath(main) };
    case 'alertmanager': {
      const url = withoutLastSlashes(readTargetUrl(main));
      const tokenFile = file('tokenFile');
      requireSecret(members, url, tokenFile);
      return {
        kind,
        ...common,
        url,
        labels: members.get('labels', readAlertLabels, {}),
        tokenFile,
        caFile: file('caFile'),
      };
    }
    case 'mail':
      return readMail(members, common);
    case 'exec':
      return {
        kind,
        ...common,
        command: readCommand(main),
        user: members.get<string | null>('user', readUser, null),
      };
  }
}

function readMail(members: Members, common: SinkCommon): MailSpec {
  const to = members.at('mail');
  const expected = 'a mail address, or a list of them';
  const places = Array.isArray(to.value) ? readList(to, { expected, max: recipientsMax }) : [to];
  if (places.length === 0) throw unusable(to, expected);
  const { host, port, isTls } = readSmtp(members.at('smtp'));
  const isNear = isLoopbackHost(host);
  const security = members.get<MailSecurity>(
    'tls',
    (at) => readSecurity(at, { isTls }),
    isTls ? 'tls' : isNear ? 'none' : 'starttls',
  );
  const login = members.get<string | null>('login', readText, null);
  const passwordFile = members.get<string | null>('passwordFile', readFilePath, null);
  if ((login === null) !== (passwordFile === null))
    throw unusable(
      members.at(login === null ? 'login' : 'passwordFile'),
      'both login and passwordFile, or neither',
    );
  if (login !== null && security === 'none' && !isNear)
    throw unusable(members.at('tls'), 'starttls: a password is never sent in the clear');
  return {
    kind: 'mail',
    ...common,
    to: places.map(readAddress),
    from: readAddress(members.at('from')),
    ...{ host, port, security, login, passwordFile },
    caFile: members.get<string | null>('caFile', readFilePath, null),
  };
}

function readSecurity(place: Place, { isTls }: { readonly isTls: boolean }): MailSecurity {
  const { value } = place;
  if (isTls) throw unusable(place, 'nothing: smtps:// is TLS from the first byte on');
  // YAML reads `off` and `no` of version 1.1 as false.
  if (value === 'starttls' || value === 'none') return value;
  throw unusable(place, 'starttls, or none for a server that has no TLS');
}

function readSmtp(place: Place): { host: string; port: number; isTls: boolean } {
  const expected = 'a server such as smtps://mail.example.org or smtp://127.0.0.1:25';
  const url = typeof place.value === 'string' ? URL.parse(place.value) : null;
  if (url === null || !['smtp:', 'smtps:'].includes(url.protocol) || url.hostname === '')
    throw unusable(place, expected);
  if (`${url.username}${url.password}${url.search}${url.hash}` !== '' || !['', '/'].includes(url.pathname))
    throw unusable(place, `${expected}; login and passwordFile say who we are`, 'more');
  const isTls = url.protocol === 'smtps:';
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return {
    host,
    port: url.port === '' ? (isTls ? 465 : isLoopbackHost(host) ? 25 : 587) : Number(url.port),
    isTls,
  };
}

/** `127.0.0.0/8`, `::1`, `localhost`. */
function isLoopbackHost(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host);
}

/** One address and nothing that could begin another header or another recipient. */
function readAddress(place: Place): string {
  const text = readText(place);
  if (
    text.length <= 254 &&
    /^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$/.test(text)
  )
    return text;
  throw unusable(place, 'a mail address such as ops@example.org');
}

function readFilePath(place: Place): string {
  const text = readText(place);
  if (text.startsWith('/') && text.length <= 4_096 && !/[\n\r]/.test(text)) return text;
  throw unusable(place, 'the path of a file, from / on');
}

function readTargetUrl(place: Place): string {
  const expected = 'a URL such as https://hooks.example/holdfast';
  // What stands there may hold a token, and errors end up in logs.
  const url = typeof place.value === 'string' ? URL.parse(place.value) : null;
  if (url === null || !['http:', 'https:'].includes(url.protocol))
    throw unusable(place, expected, 'no http or https URL');
  if (`${url.username}${url.password}` !== '')
    throw unusable(
      place,
      'one without; tokenFile names a file with a token',
      'a URL with a user name or password',
    );
  url.hash = '';
  return url.href;
}

/** Paths are put behind it. */
function withoutLastSlashes(url: string): string {
  let end = url.length;
  while (url[end - 1] === '/') end -= 1;
  return url.slice(0, end);
}

function requireSecret(members: Members, url: string, tokenFile: string | null): void {
  const { protocol, hostname } = new URL(url);
  if (tokenFile !== null && protocol === 'http:' && !isLoopbackHost(hostname.replace(/^\[|\]$/g, '')))
    throw unusable(members.at('tokenFile'), 'an https URL: a token never travels unencrypted');
}

function readAlertLabels(place: Place): Readonly<Record<string, string>> {
  const { value, path } = place;
  const expected = 'a map of labels, such as {team: ops}';
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw unusable(place, expected);
  const entries = Object.entries(value);
  if (entries.length > labelsMax)
    throw unusable(place, `at most ${labelsMax} labels`, `${entries.length} labels`);
  for (const [name, label] of entries) {
    if (!/^[a-zA-Z_][a-zA-Z0-9_]{0,127}$/.test(name) || name.startsWith('__'))
      throw unusable(place, `${expected}; names as Prometheus has them`, JSON.stringify(name.slice(0, 80)));
    readText({ path: `${path}/${name}`, value: label });
  }
  return Object.fromEntries(entries) as Record<string, string>;
}
