/**
 * The README's tables, made from the code that they describe. `node test/readme/tables.ts` writes them into README.md;
 * tables.test.ts fails when they differ.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatLimit, type Limit, limitTable } from '../../src/base/limits.ts';
import { exitCodeHelp, exitCodeOf } from '../../src/cli/exit.ts';
import { roleCommands, type SettingName, settings, settingsOf } from '../../src/cli/settings.ts';
import { AppError, type ErrorCode, errorCodes } from '../../src/domain/error.ts';
import { routes } from '../../src/http/routes.ts';
import { statusOf } from '../../src/wire/problem.ts';

export const readmeFile = join(import.meta.dirname, '../../README.md');

export type TableName = 'routes' | 'errors' | 'exit codes' | 'settings' | 'limits' | 'dependencies';

/** Sentences that only people can write; the type says that none is missing. */
const errorMeaning: Record<ErrorCode, string> = {
  'bad-request': 'the request is malformed, or asks for what cannot be; `field` names the part',
  unauthenticated: 'no credential, or one that is unknown, expired or revoked',
  forbidden: 'the credential is good, but its role may not do this',
  'not-found': 'there is no such thing',
  'method-not-allowed': 'the path has other methods, listed in `Allow`',
  'too-slow': 'the request did not arrive in time',
  conflict: 'something else holds this place (`holder`), or it has changed since you read it',
  'already-decided': 'somebody decided before; the first decision stands',
  'identity-conflict': 'two agents speak for one host',
  compacted: 'the log no longer reaches back that far; `oldest` is where it begins',
  'taken-over': 'another service record has this type and host now',
  'precondition-failed': '`If-Match` names another version than the current one',
  'too-large': 'the body is larger than its limit',
  unsupported: 'the media type, charset or operation is not supported here',
  unprocessable: 'well-formed, and refused by a rule',
  'precondition-required': '`If-Match` is missing',
  'rate-limited': 'your budget is used up; `Retry-After` says when to come back',
  'headers-too-large': 'the headers are larger than their limit',
  internal: 'a fault here; the log has the details under the request id',
  unavailable: 'not now: starting, stopping, too busy, or the other side is out of reach',
  'storage-full': 'the disk is full; nothing was changed',
};

/** Why each package is here and not another, or our own code. */
const dependencyReason: Record<string, string> = {
  '@peculiar/asn1-schema': 'ASN.1 for the package below',
  '@peculiar/asn1-x509':
    'the structures of a certificate, which Node reads but does not make; loaded when one is made (175 KiB), without the container and the global polyfill that its larger sister needs',
  ajv: 'checks bodies against their schemas; compiled once, with our words for what is wrong',
  'better-sqlite3':
    'the fastest SQLite for Node, synchronous inside a transaction, with prebuilt addons for every platform',
  commander: 'commands, options and help; the most used, without dependencies',
  'find-my-way':
    'finds the route of a request: Fastify’s own router, without Fastify around it, of which nothing else was in use',
  kysely: 'typed SQL for two databases, without an ORM; compiled once per statement here',
  pg: 'the PostgreSQL driver that everybody runs',
  pino: 'structured logs, one JSON line each',
  'prom-client': 'the Prometheus text format; loaded at the first scrape',
  typebox: 'one schema validates, types and documents a body',
  nodemailer: 'SMTP with STARTTLS, logins, and headers that nobody can inject into; loaded by the first mail',
  undici: "Node's own HTTP client: pools, time-outs, Unix sockets, proxies",
  uuid: 'UUIDv7 with our clock and randomness',
  ws: 'the WebSocket protocol, and nothing else',
  yaml: 'YAML with positions, so that an error names file and line',
};

export function tables(): Record<TableName, string> {
  return {
    routes: table(
      ['method', 'path', 'on', 'who', 'what'],
      routes.map(({ method, path, on, access, operation }) => [
        method,
        `\`${path}\``,
        on,
        typeof access === 'string' ? accessWord[access] : access.join(', '),
        operation.summary,
      ]),
    ),
    errors: table(
      ['code', 'status', 'CLI exit', 'meaning'],
      errorCodes.map((code) => [
        `\`${code}\``,
        `${statusOf(code)}`,
        `${exitCodeOf(new AppError(code, ''))}`,
        errorMeaning[code],
      ]),
    ),
    'exit codes': table(
      ['exit', 'meaning'],
      Object.entries(exitCodeHelp).map(([code, meaning]) => [code, meaning]),
    ),
    settings: table(
      ['flag', 'variable', 'in the file', 'of', 'what'],
      (Object.keys(settings) as SettingName[]).map((name) => [
        settings[name].flag === null ? '–' : `\`${settings[name].flag}\``,
        settings[name].env === null ? '–' : `\`${settings[name].env}\``,
        settings[name].key === null ? '–' : `\`${settings[name].key}\``,
        roleCommands.filter((role) => settingsOf[role].includes(name)).join(', '),
        settings[name].help,
      ]),
    ),
    limits: table(
      ['limit', 'value', 'what happens there'],
      Object.entries<Limit>(limitTable).map(([name, limit]) => [
        `\`${name}\``,
        formatLimit(limit),
        limit.reached,
      ]),
    ),
    dependencies: table(
      ['package', 'why this one'],
      Object.keys(packageDependencies()).map((name) => [`\`${name}\``, dependencyReason[name] ?? '']),
    ),
  };
}

/** The README with every marked table as the code has it. Throws when a table has no place in it. */
export function withTables(readme: string): string {
  let text = readme;
  for (const [name, content] of Object.entries(tables())) {
    const [begin, end] = [`<!-- table: ${name} -->`, `<!-- end: ${name} -->`];
    const [from, to] = [text.indexOf(begin), text.indexOf(end)];
    if (from < 0 || to < from) throw new Error(`README.md has no place for the table "${name}"`);
    text = `${text.slice(0, from + begin.length)}\n${content}\n${text.slice(to)}`;
  }
  return text;
}

export function packageDependencies(): Record<string, string> {
  const file = join(import.meta.dirname, '../../package.json');
  return (JSON.parse(readFileSync(file, 'utf8')) as { dependencies: Record<string, string> }).dependencies;
}

const accessWord = {
  open: 'everyone',
  proof: 'whoever proves the key of the host',
  known: 'any valid credential',
  probe: 'viewer, or anyone on a loopback listener',
} as const;

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

if (import.meta.main) writeFileSync(readmeFile, withTables(readFileSync(readmeFile, 'utf8')));
