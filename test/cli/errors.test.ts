import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { exitCodeHelp, exitCodeOf, exitCodes } from '../../src/cli/exit.ts';
import { LinkError } from '../../src/client/link.ts';
import { AppError, type ErrorCode, errorCodes } from '../../src/domain/error.ts';
import { statusOf } from '../../src/wire/problem.ts';
import { type FakeServer, fakeServer, json, problem } from '../client/fake-server.ts';
import { tempFolder } from '../helpers/temp.ts';
import { fakeFleet } from './fake-fleet.ts';
import { cli } from './harness.ts';

test('exitCodeOf() follows FORMATS by the status of each code', () => {
  const byStatus: Record<number, number> = {
    400: 2,
    422: 2,
    401: 77,
    403: 77,
    404: 3,
    409: 4,
    410: 4,
    412: 4,
    408: 75,
    429: 75,
    503: 75,
  };
  for (const code of errorCodes)
    assert.equal(exitCodeOf(new AppError(code, '')), byStatus[statusOf(code)] ?? 1, code);
  assert.equal(exitCodeOf(new LinkError('unreachable', '')), 6);
  assert.equal(exitCodeOf(new LinkError('foreign', '')), 6);
  assert.equal(exitCodeOf(new LinkError('timed-out', '')), 7);
  assert.equal(exitCodeOf(new Error('bug')), 1);
  assert.deepEqual(Object.keys(exitCodeHelp).map(Number), Object.values(exitCodes));
});

async function refusing(t: TestContext, code: ErrorCode): Promise<FakeServer> {
  return fakeServer(t, (_asked, response) =>
    problem(response, new AppError(code, 'Cannot do that: it is so')),
  );
}

for (const [code, exit, advice] of [
  ['bad-request', 2, undefined],
  ['unauthenticated', 77, /--token-file/],
  ['forbidden', 77, /role/],
  ['not-found', 3, undefined],
  ['conflict', 4, undefined],
  ['unavailable', 75, /Try again/],
  ['internal', 1, /log of the server/],
] as [ErrorCode, number, RegExp | undefined][]) {
  test(`a server that answers ${code}: exit ${exit}, the reason, and what to do`, async (t) => {
    const server = await refusing(t, code);
    const { stdout, stderr, code: exited } = await cli(['hosts', 'get', 'x', '--url', server.url]);
    assert.deepEqual([exited, stdout], [exit, '']);
    const [whom, message, next] = stderr.split('\n');
    assert.equal(whom, `asking ${server.url}`);
    assert.equal(message, 'holdfast: Cannot do that: it is so');
    if (advice !== undefined) assert.match(next ?? '', advice);
    assert.doesNotMatch(stderr, /at .*\.ts/);
  });
}

test('--log-level debug shows where an error comes from', async (t) => {
  const server = await refusing(t, 'not-found');
  const { stderr } = await cli(['hosts', 'get', 'x', '--url', server.url, '--log-level', 'debug']);
  assert.match(stderr, /at .*\.ts/);
});

test('nobody there: exit 6; no answer in time: exit 7; a page: exit 6', async (t) => {
  assert.equal((await cli(['hosts', 'ls', '--url', 'http://127.0.0.1:1'])).code, 6);
  const mute = await fakeServer(t, () => undefined);
  const late = await cli(['hosts', 'ls', '--url', mute.url, '--timeout', '50ms']);
  assert.equal(late.code, 7);
  assert.match(late.stderr, /--timeout/);
  const page = await fakeServer(t, (_asked, response) =>
    response.writeHead(200, { 'content-type': 'text/html' }).end('<p>'),
  );
  assert.equal((await cli(['hosts', 'ls', '--url', page.url])).code, 6);
});

test('services is-up never exits 1 unless the answer is DOWN', async (t) => {
  const at = ['services', 'is-up', '--type', 'a', '--host', 'b'];
  const broken = await refusing(t, 'internal');
  const unsure = await refusing(t, 'unavailable');
  assert.deepEqual((await cli([...at, '--url', broken.url])).code, 75);
  assert.deepEqual((await cli([...at, '--url', unsure.url])).code, 75);
  assert.deepEqual((await cli([...at, '--url', 'http://127.0.0.1:1'])).code, 6);
  const { env } = await fakeFleet(t);
  await cli(['services', 'set', '--type', 'a', '--host', 'b', '--status', 'DOWN'], { env });
  assert.deepEqual((await cli(at, { env })).code, 1);
});

test('a stale answer is told as one', async (t) => {
  const answer = {
    up: true,
    known: true,
    reason: null,
    maintenance: null,
    confirmed: false,
    stale: true,
    asOf: '2026-01-01T00:00:00.000Z',
    ageMs: 9,
  };
  const server = await fakeServer(t, (_asked, response) => json(response, 200, answer));
  const { stdout, stderr, code } = await cli(['services', 'is-up', 'x', '--url', server.url]);
  assert.deepEqual([stdout, code], ['UP\n', 0]);
  assert.match(stderr, /cannot be reached: this is what it said at 2026/);
});

test('a conflict names the holder: exit 4', async (t) => {
  const { env } = await fakeFleet(t);
  await cli(['services', 'set', '--type', 'a', '--host', 'b'], { env });
  const set = ['services', 'set', '--type', 'a', '--host', 'b', '--uuid', 'ffffffffffffffffffffffffffffffff'];
  const { code, stderr } = await cli(set, { env });
  assert.equal(code, 4);
  assert.match(stderr, /held by 00000000-0000-7000-8000-000000000001/);
  assert.equal((await cli([...set, '--takeover'], { env })).code, 0);
});

test('services set takes over for a uuid that is named, and never its own record', async (t) => {
  const { env, records } = await fakeFleet(t);
  const set = ['services', 'set', '--type', 'a', '--host', 'b'];
  await cli(set, { env });
  const [uuid] = records.keys();
  const { code, stderr } = await cli([...set, '--takeover'], { env });
  assert.equal(code, 2);
  assert.match(stderr, /pass --uuid/);
  assert.deepEqual([...records.keys()], [uuid]);
});

test('usage mistakes exit 2 and name the nearest', async () => {
  for (const [argv, words] of [
    [['servces'], /unknown command 'servces' \(Did you mean services\?\)/],
    [['services', 'sl'], /Did you mean ls/],
    [
      ['services', 'ls', '--hst', 'x'],
      /unknown option '--hst' \(Did you mean --host\?\)\nSee "holdfast services ls --help"/,
    ],
    [['hosts', 'get'], /missing required argument 'host'/],
    [['hosts', 'ls', '-o', 'xml'], /Allowed choices are table, wide, json, yaml/],
    [['services', 'is-up'], /pass its UUID, or --type and --host/],
    [['services', 'is-up', 'x', '--type', 'y'], /pass its UUID, or/],
    [['services', 'set', '--host', 'x'], /pass --type and --host/],
    [['services', 'ls', '--limit', 'all', '--url', 'http://127.0.0.1:1'], /--limit wants a number/],
    [['services', 'watch', '--count', '0'], /--count wants a number/],
    [['hosts', 'ls', '--url', 'http://127.0.0.1:1', '--socket', '/x'], /either --url or --socket/],
    [['hosts', 'ls', '--url', 'http://127.0.0.1:1', '--timeout', 'soon'], /expected one like 30s/],
    [['help', 'nothing'], /unknown command 'nothing'/],
  ] as [string[], RegExp][]) {
    const { code, stderr, stdout } = await cli(argv);
    assert.equal(code, 2, argv.join(' '));
    assert.match(stderr, words);
    assert.equal(stdout, '');
  }
});

test('secrets as arguments are refused and not repeated', async () => {
  for (const argv of [
    ['hosts', 'ls', '--token', 'hf_secret'],
    ['hosts', 'ls', '--token=hf_secret'],
    ['registry', '--database-url', 'postgres://me:secret@db/x'],
    ['hosts', 'ls', 'hf_secret'],
    ['hosts', 'ls', '--url', 'https://me:secret@registry'],
  ]) {
    const { code, stderr } = await cli(argv);
    assert.equal(code, 2, argv.join(' '));
    assert.match(stderr, /Cannot take a secret as an argument/);
    assert.doesNotMatch(stderr, /secret[^ ]*@|hf_secret/);
  }
});

test('the token comes from --token-file, stdin, or HOLDFAST_TOKEN, in this order', async (t) => {
  const server = await fakeServer(t, (_asked, response) => json(response, 200, {}));
  const file = join(tempFolder(t), 'token');
  writeFileSync(file, 'from-file\n', { mode: 0o600 });
  const env = { HOLDFAST_URL: server.url, HOLDFAST_TOKEN: 'from-env' };
  await cli(['status', '--token-file', file], { env });
  await cli(['status', '--token-file', '-'], { env, stdin: 'from-stdin\n' });
  await cli(['status'], { env });
  assert.deepEqual(
    server.asked.map(({ headers }) => headers['authorization']),
    ['Bearer from-file', 'Bearer from-stdin', 'Bearer from-env'],
  );
  writeFileSync(join(file, '../open'), 'x', { mode: 0o644 });
  assert.equal((await cli(['status', '--token-file', join(file, '../open')], { env })).code, 78);
  assert.equal((await cli(['status', '--token-file', join(file, '../none')], { env })).code, 78);
  assert.equal((await cli(['status', '--token-file', '-'], { env, stdin: '' })).code, 2);
});

test('holdfast alone, help and --help teach and exit 0', async () => {
  const [alone, help, flag] = await Promise.all([cli([]), cli(['help']), cli(['--help'])]);
  assert.deepEqual([alone.code, help.code, flag.code], [0, 0, 0]);
  assert.equal(alone.stdout, help.stdout);
  assert.equal(alone.stdout, flag.stdout);
  assert.match(alone.stdout, /holdfast up {10,}start an agent and a registry here/);
  assert.match(alone.stdout, /Exit codes: 0 ok, 1 failed, 2 usage,/);
  const nested = await cli(['help', 'services', 'is-up']);
  assert.match(nested.stdout, /exits 0, 1 or 3/);
  assert.equal((await cli(['config'])).code, 2);
});

test('every command has a summary, a description and examples', async () => {
  const names = [...(await cli([])).stdout.matchAll(/^ {2}([a-z]+) {2,}\S.*$/gm)]
    .map(([, name]) => name ?? '')
    .filter((name) => name !== 'holdfast');
  assert.ok(names.length >= 12, names.join());
  for (const name of names) {
    const { stdout } = await cli([name, '--help']);
    const subcommands = [...stdout.matchAll(/^ {2}([a-z-]+) \[options\]/gm)].map(([, sub]) => sub ?? '');
    // A group's own help has one of each of its commands.
    for (const sub of subcommands)
      assert.match(stdout, new RegExp(`\n  holdfast ${name} ${sub}`), `${name} ${sub}`);
    for (const path of subcommands.length === 0 ? [[name]] : subcommands.map((sub) => [name, sub])) {
      const help = (await cli([...path, '--help'])).stdout;
      assert.match(help, new RegExp(`Examples:\n  holdfast ${path.join(' ')}`), path.join(' '));
    }
  }
});
