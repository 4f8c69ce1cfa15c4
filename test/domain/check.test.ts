import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import {
  checkTtlMs,
  decideCheck,
  needsRunner,
  readChecks,
  undecided,
  type Verdict,
  verdictOf,
} from '../../src/domain/check.ts';
import { isAppError } from '../../src/domain/error.ts';
import { refusedBy } from './refused-by.ts';

suite('readChecks()', () => {
  test('reads the example of the formats, and fills in what it leaves out', () => {
    const [check] = readChecks([
      { type: 'nginx', http: 'http://127.0.0.1/healthz', every: '10s', failAfter: 3 },
    ]);
    assert.deepEqual(check, {
      type: 'nginx',
      probe: { kind: 'http', url: 'http://127.0.0.1/healthz', status: [[200, 299]], match: null },
      everyMs: 10_000,
      timeoutMs: 5_000,
      failAfter: 3,
      passAfter: 1,
    });
    assert.deepEqual(readChecks([]), []);
    const [plain, often] = readChecks([
      { type: 'a', tcp: '[::1]:5432' },
      { type: 'b', tcp: 'db.example:5432', every: 2 },
    ]);
    assert.deepEqual(
      [plain?.everyMs, plain?.timeoutMs, often?.everyMs, often?.timeoutMs],
      [30_000, 5_000, 2_000, 2_000],
    );
    assert.deepEqual(plain?.probe, { kind: 'tcp', host: '::1', port: 5432 });
  });

  test('reads each kind of probe', () => {
    const probes = readChecks([
      { type: 'a', http: 'https://h/x?y#z', status: [200, '300-399'], match: 'o\\wk' },
      { type: 'b', tcp: 'localhost:22' },
      { type: 'c', exec: ['/usr/lib/nagios/plugins/check_disk', '-w', '10%', ''], user: 'nagios' },
      { type: 'd', exec: ['pg_isready'] },
      { type: 'e', process: '/usr/sbin/cron' },
      { type: 'f', systemd: 'nginx' },
      { type: 'g', systemd: 'postgresql@15-main.service' },
    ]).map(({ probe }) => probe);
    assert.deepEqual(probes, [
      {
        kind: 'http',
        url: 'https://h/x?y',
        status: [
          [200, 200],
          [300, 399],
        ],
        match: 'o\\wk',
      },
      { kind: 'tcp', host: 'localhost', port: 22 },
      { kind: 'exec', command: ['/usr/lib/nagios/plugins/check_disk', '-w', '10%', ''], user: 'nagios' },
      { kind: 'exec', command: ['pg_isready'], user: null },
      { kind: 'process', name: '/usr/sbin/cron' },
      { kind: 'systemd', unit: 'nginx.service' },
      { kind: 'systemd', unit: 'postgresql@15-main.service' },
    ]);
    assert.deepEqual(probes.map(needsRunner), [false, false, true, true, true, true, true]);
  });

  test('refuses what cannot be, naming the place and what was expected', () => {
    const http = 'http://127.0.0.1/';
    for (const [checks, field, words] of [
      [null, 'checks', /null given, expected a list of checks, .*\[\] for none/],
      [{ type: 'a' }, 'checks', /expected a list/],
      [['nginx'], 'checks/0', /"nginx" given, expected a check, such as/],
      [[{ http }], 'checks/0/type', /nothing given, expected a text/],
      [[{ type: ' a', http }], 'checks/0/type', /1 to 128 printable/],
      [[{ type: 'a' }], 'checks/0', /does not say what to look at, expected one of http, tcp/],
      [[{ type: 'a', http, tcp: 'a:1' }], 'checks/0', /has both http and tcp/],
      [[{ type: 'a', http, evry: '10s' }], 'checks/0/evry', /unknown key "evry"; did you mean "every"\?/],
      [
        [{ type: 'a', http, weather: 1 }],
        'checks/0/weather',
        /unknown key "weather"; expected one of type, http/,
      ],
      [
        [
          { type: 'a', http },
          { type: 'a', tcp: 'a:1' },
        ],
        'checks/1',
        /another check has the type "a"/,
      ],
      [[{ type: 'a', http: 'ftp://x/' }], 'checks/0/http', /a URL such as http:/],
      [[{ type: 'a', http: 'x' }], 'checks/0/http', /a URL such as http:/],
      [[{ type: 'a', http: 'http://me:secret@x/' }], 'checks/0/http', /\(not shown\)@x.*without a user name/],
      [[{ type: 'a', http, every: '5x' }], 'checks/0/every', /"5x" given, expected a duration such as 30s/],
      [[{ type: 'a', http, every: '999ms' }], 'checks/0/every', /at least 1s/],
      [[{ type: 'a', http, every: '25h' }], 'checks/0/every', /at most 1d/],
      [[{ type: 'a', http, every: true }], 'checks/0/every', /true given/],
      [[{ type: 'a', http, every: '10s', timeout: '11s' }], 'checks/0/timeout', /at most 10s/],
      [[{ type: 'a', http, timeout: 0 }], 'checks/0/timeout', /at least 10ms/],
      [[{ type: 'a', http, failAfter: 0 }], 'checks/0/failAfter', /a whole number from 1 to 100/],
      [[{ type: 'a', http, passAfter: 1.5 }], 'checks/0/passAfter', /a whole number/],
      [[{ type: 'a', http, every: '1d', failAfter: 4 }], 'checks/0/failAfter', /fewer: DOWN would be told/],
      [[{ type: 'a', http, status: 99 }], 'checks/0/status', /a status such as 204/],
      [[{ type: 'a', http, status: '299-200' }], 'checks/0/status', /a range such as 200-399/],
      [[{ type: 'a', http, status: [] }], 'checks/0/status', /a list of these/],
      [[{ type: 'a', http, status: [200, 'ok'] }], 'checks/0/status/1', /"ok" given/],
      [[{ type: 'a', http, match: '(' }], 'checks/0/match', /a regular expression: .*Unterminated group/],
      [[{ type: 'a', tcp: 'a:1', match: 'x' }], 'checks/0/match', /only a check with http/],
      [[{ type: 'a', tcp: 'a:1', user: 'x' }], 'checks/0/user', /only a check with exec/],
      [[{ type: 'a', tcp: 'a' }], 'checks/0/tcp', /host:port/],
      [[{ type: 'a', tcp: 'a:0' }], 'checks/0/tcp', /host:port/],
      [[{ type: 'a', tcp: 'a:65536' }], 'checks/0/tcp', /host:port/],
      [[{ type: 'a', exec: 'ping -psecret' }], 'checks/0/exec', /a text given, expected a list of a program/],
      [[{ type: 'a', exec: [] }], 'checks/0/exec', /a list of a program/],
      [[{ type: 'a', exec: ['./x'] }], 'checks/0/exec/0', /from \/ on, or a name that is found in PATH/],
      [[{ type: 'a', exec: ['sleep', 5] }], 'checks/0/exec/1', /put it into quotes: '5'/],
      [[{ type: 'a', exec: ['a', 'b\0c'] }], 'checks/0/exec/1', /a text/],
      [[{ type: 'a', exec: ['a'], user: 'root' }], 'checks/0/user', /foreign code never runs as root/],
      [[{ type: 'a', exec: ['a'], user: 'holdfast-agent' }], 'checks/0/user', /never runs as/],
      [[{ type: 'a', exec: ['a'], user: '0' }], 'checks/0/user', /the name of a user/],
      [[{ type: 'a', process: 'sbin/cron' }], 'checks/0/process', /the file name of a program/],
      [[{ type: 'a', systemd: '--help' }], 'checks/0/systemd', /the name of a unit/],
      [Array.from({ length: 1_001 }, () => ({})), 'checks', /1001 entries, expected at most 1000/],
    ] as const) {
      const error = refusedBy(() => readChecks(checks));
      assert.ok(isAppError(error, 'bad-request'), JSON.stringify(checks));
      assert.match(error.message, words);
      assert.equal(error.field, field);
      assert.ok(error.message.startsWith(`Cannot use ${field}: `), error.message);
      assert.doesNotMatch(error.message, /secret/);
    }
  });
});

test('checkTtlMs() covers twice the looks that it takes to fail, and a minute at least', () => {
  assert.equal(checkTtlMs({ everyMs: 30_000, timeoutMs: 5_000, failAfter: 3 }), 185_000);
  assert.equal(checkTtlMs({ everyMs: 1_000, timeoutMs: 1_000, failAfter: 1 }), 60_000);
});

suite('decideCheck()', () => {
  const spec = { failAfter: 3, passAfter: 2 };
  const through = (looks: string, from: Verdict = undecided) =>
    Array.from(looks).reduce<[string[], Verdict]>(
      ([said, verdict], look) => {
        const outcome = ({ p: 'passed', f: 'failed', u: 'unknown' } as const)[look as 'p' | 'f' | 'u'];
        const next = decideCheck(verdict, outcome, spec);
        return [[...said, next.status ?? '-'], next];
      },
      [[], from],
    )[0];

  test('lets the first look that says anything decide at once', () => {
    assert.deepEqual(through('uuf'), ['-', '-', 'DOWN']);
    assert.deepEqual(through('up'), ['-', 'UP']);
  });

  test('wants so many looks in a row to change, which one that passes interrupts and one that cannot say does not', () => {
    assert.deepEqual(through('pffpfff'), ['UP', 'UP', 'UP', 'UP', 'UP', 'UP', 'DOWN']);
    assert.deepEqual(through('pffuuf'), ['UP', 'UP', 'UP', 'UP', 'UP', 'DOWN']);
    assert.deepEqual(through('fpfpp'), ['DOWN', 'DOWN', 'DOWN', 'DOWN', 'UP']);
  });

  test('agrees with the last looks alone, through random histories', () => {
    const looks = fc.array(fc.constantFrom('passed', 'failed', 'unknown'), { maxLength: 60 });
    const counts = fc.record({
      failAfter: fc.integer({ min: 1, max: 5 }),
      passAfter: fc.integer({ min: 1, max: 5 }),
    });
    fc.assert(
      fc.property(looks, counts, (outcomes, wanted) => {
        let verdict = undecided;
        const said: string[] = [];
        for (const outcome of outcomes) {
          const before = verdict.status;
          verdict = decideCheck(verdict, outcome, wanted);
          if (outcome !== 'unknown') said.push(outcome);
          assert.equal(verdict.status === null, said.length === 0);
          if (verdict.status === before || before === null) continue;
          // It changed: exactly because the last so many looks that said anything all say so.
          const [word, many] =
            verdict.status === 'UP'
              ? (['passed', wanted.passAfter] as const)
              : (['failed', wanted.failAfter] as const);
          assert.notEqual(outcome, 'unknown');
          assert.deepEqual(
            said.slice(-many),
            Array.from({ length: many }, () => word),
          );
        }
        // And it has not stayed what so many looks in a row deny.
        if (verdict.status !== null) {
          const [word, many] =
            verdict.status === 'DOWN'
              ? (['passed', wanted.passAfter] as const)
              : (['failed', wanted.failAfter] as const);
          assert.ok(said.length < many || said.slice(-many).some((one) => one !== word));
        }
      }),
    );
  });
});

test('verdictOf() reads of a record what its check thought, and nothing of what others made of it', () => {
  assert.deepEqual(verdictOf({ status: 'UP', reason: null }), { status: 'UP', against: 0 });
  assert.deepEqual(verdictOf({ status: 'DOWN', reason: 'check' }), { status: 'DOWN', against: 0 });
  for (const reason of ['set', 'lapsed'] as const)
    assert.deepEqual(verdictOf({ status: 'DOWN', reason }), undecided);
  assert.deepEqual(verdictOf(undefined), undecided);
});
