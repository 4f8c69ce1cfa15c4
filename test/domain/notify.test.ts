import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { isAppError } from '../../src/domain/error.ts';
import { readNotify } from '../../src/domain/notify.ts';
import { type SinkSpec, shownSink, sinkTarget } from '../../src/domain/sinks.ts';
import { refusedBy } from './refused-by.ts';

const hook = { webhook: 'https://hooks.example/holdfast' };
const mail = { mail: 'ops@example.org', from: 'holdfast@example.org', smtp: 'smtp://mail.example.org' };
const one = (sink: object): SinkSpec | undefined => readNotify({ sinks: { one: sink } }).sinks[0];

suite('readNotify()', () => {
  test('reads sinks and rules, with what holds where they are silent', () => {
    const plan = readNotify({
      sinks: {
        ops: { ...hook, secretFile: '/etc/holdfast/ops.secret' },
        chat: { slack: '/etc/holdfast/slack.url' },
      },
      rules: [
        {
          name: 'down',
          select: { types: ['host.*', 'service.lapsed'], hosts: 'env=prod', services: { type: 'shop/api' } },
          to: ['ops', 'chat', 'ops'],
          groupBy: ['region'],
          groupWait: '30s',
          repeatAfter: '4h',
        },
        { select: { types: 'release.published' }, to: 'chat' },
      ],
    });
    assert.deepEqual(plan.sinks, [
      {
        kind: 'webhook',
        name: 'ops',
        timeoutMs: 10_000,
        url: 'https://hooks.example/holdfast',
        secretFile: '/etc/holdfast/ops.secret',
        tokenFile: null,
        caFile: null,
      },
      { kind: 'slack', name: 'chat', timeoutMs: 10_000, urlFile: '/etc/holdfast/slack.url' },
    ]);
    assert.deepEqual(plan.rules, [
      {
        name: 'down',
        select: { types: ['host.*', 'service.lapsed'], hosts: 'env=prod', services: { type: ['shop/api'] } },
        to: ['ops', 'chat'],
        groupBy: ['region'],
        groupWaitMs: 30_000,
        repeatAfterMs: 14_400_000,
      },
      {
        name: 'rule-2',
        select: { types: ['release.published'] },
        to: ['chat'],
        groupBy: [],
        groupWaitMs: 10_000,
        repeatAfterMs: 3_600_000,
      },
    ]);
    assert.deepEqual(readNotify({}), { sinks: [], rules: [] });
  });

  test('asks for TLS of a mail server, but for one on this machine and where somebody says so', () => {
    const found = (more: object) => {
      const spec = one({ ...mail, ...more });
      assert.ok(spec?.kind === 'mail');
      return `${spec.host} ${spec.port} ${spec.security}`;
    };
    assert.equal(found({}), 'mail.example.org 587 starttls');
    assert.equal(found({ smtp: 'smtps://mail.example.org' }), 'mail.example.org 465 tls');
    assert.equal(found({ smtp: 'smtp://127.0.0.1' }), '127.0.0.1 25 none');
    assert.equal(found({ smtp: 'smtp://[::1]:1025' }), '::1 1025 none');
    assert.equal(found({ smtp: 'smtp://127.0.0.1', tls: 'starttls' }), '127.0.0.1 25 starttls');
    assert.equal(found({ tls: 'none' }), 'mail.example.org 587 none');
  });

  test('refuses what cannot be, naming the place, the nearest known word, and no secret', () => {
    const rule = { to: ['ops'] };
    const rules = (more: object) => ({ sinks: { ops: hook }, rules: [{ ...rule, ...more }] });
    const sink = (more: object) => ({ sinks: { ops: more } });
    for (const [value, field, words] of [
      [[], 'notify', /rules and sinks/],
      [{ rule: [] }, 'notify/rule', /did you mean "rules"\?/],
      [{ sinks: [] }, 'notify/sinks', /a map of sinks by name/],
      [{ sinks: { 'Ops!': hook } }, 'notify/sinks', /"Ops!" is no name of a sink/],
      [sink({}), 'notify/sinks/ops', /does not say what it is, expected one of webhook/],
      [sink({ ...hook, slack: '/x' }), 'notify/sinks/ops', /both webhook and slack/],
      [sink({ webhok: 'https://x' }), 'notify/sinks/ops/webhok', /did you mean "webhook"\?/],
      [sink({ ...hook, from: 'a@b.c' }), 'notify/sinks/ops/from', /nothing: a sink with webhook has none/],
      [sink({ webhook: 'ftp://x' }), 'notify/sinks/ops/webhook', /a URL such as/],
      [
        sink({ webhook: 'https://u:hush@x' }),
        'notify/sinks/ops/webhook',
        /with a user name or password given, expected one without/,
      ],
      [
        sink({ webhook: 'http://x.example/hush', tokenFile: '/t' }),
        'notify/sinks/ops/tokenFile',
        /https URL/,
      ],
      [
        sink({ slack: 'https://hooks.slack.com/services/hush' }),
        'notify/sinks/ops/slack',
        /the path of a file/,
      ],
      [sink({ ...hook, secretFile: 'hook.secret' }), 'notify/sinks/ops/secretFile', /from \/ on/],
      [sink({ ...hook, timeout: '2h' }), 'notify/sinks/ops/timeout', /at most 1m/],
      [sink({ ...mail, mail: 'a@b.c\nBcc: x@y.z' }), 'notify/sinks/ops/mail', /a mail address/],
      [sink({ ...mail, mail: [] }), 'notify/sinks/ops/mail', /a mail address, or a list/],
      [sink({ ...mail, from: 'Ops <ops@x.y>' }), 'notify/sinks/ops/from', /a mail address/],
      [sink({ ...mail, smtp: 'smtp://u:hush@x' }), 'notify/sinks/ops/smtp', /login and passwordFile/],
      [sink({ ...mail, smtp: 'smtps://x', tls: 'none' }), 'notify/sinks/ops/tls', /TLS from the first byte/],
      [sink({ ...mail, login: 'me' }), 'notify/sinks/ops/passwordFile', /both login and passwordFile/],
      [
        sink({ ...mail, login: 'me', passwordFile: '/p', tls: 'none' }),
        'notify/sinks/ops/tls',
        /never sent in the clear/,
      ],
      [sink({ exec: 'page --hush' }), 'notify/sinks/ops/exec', /a list of a program/],
      [sink({ exec: ['/bin/page'], user: 'root' }), 'notify/sinks/ops/user', /never runs as/],
      [
        sink({ alertmanager: 'http://x', labels: { 'a-b': 'c' } }),
        'notify/sinks/ops/labels',
        /as Prometheus/,
      ],
      [rules({ to: ['opps'] }), 'notify/rules/0/to/0', /did you mean "ops"\?/],
      [rules({ to: [] }), 'notify/rules/0/to', /a list of names/],
      [rules({ too: 1 }), 'notify/rules/0/too', /did you mean "to"\?/],
      [rules({ select: { type: ['x'] } }), 'notify/rules/0/select/type', /did you mean "types"\?/],
      [
        rules({ select: { types: ['host.lapsd'] } }),
        'notify/rules/0/select/types/0',
        /did you mean "host.lapsed"\?/,
      ],
      [rules({ select: { types: [] } }), 'notify/rules/0/select/types', /at least one/],
      [rules({ select: { hosts: 'env in' } }), 'notify/rules/0/select/hosts', /a selector over hosts/],
      [rules({ select: { services: { uuid: 'x' } } }), 'notify/rules/0/select/services/uuid', /a UUID/],
      [rules({ groupBy: ['regoin'] }), 'notify/rules/0/groupBy/0', /did you mean "region"\?/],
      [rules({ groupWait: '2h' }), 'notify/rules/0/groupWait', /at most 1h/],
      [
        {
          sinks: { ops: hook },
          rules: [
            { ...rule, name: 'a' },
            { ...rule, name: 'a' },
          ],
        },
        'notify/rules/1',
        /another rule is called "a"/,
      ],
      [{ rules: [rule] }, 'notify/rules/0/to/0', /notify\.sinks has none/],
    ] as const) {
      const error = refusedBy(() => readNotify(value));
      assert.ok(isAppError(error, 'bad-request'), JSON.stringify(value));
      assert.match(error.message, words);
      assert.equal(error.field, field);
      assert.doesNotMatch(error.message, /hush/);
    }
  });

  test('takes or refuses with a place whatever it is given', () => {
    const words = fc.constantFrom(
      'webhook',
      'slack',
      'mail',
      'to',
      'select',
      'types',
      'hosts',
      'ops',
      'name',
      'groupBy',
    );
    const value = fc.letrec((tie) => ({
      any: fc.oneof(
        { maxDepth: 4 },
        fc.anything({ maxDepth: 1 }),
        fc.string(),
        fc.constantFrom('ops', 'host.*', '30s', '/x', 'https://x.example', 'env=prod', 'a@b.c'),
        fc.array(tie('any'), { maxLength: 3 }),
        fc.dictionary(fc.oneof(words, fc.string()), tie('any'), { maxKeys: 4 }),
      ),
    })).any;
    const part = fc.record(
      {
        sinks: fc.oneof(value, fc.dictionary(fc.constantFrom('ops', 'b'), value)),
        rules: fc.oneof(value, fc.array(value)),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(fc.oneof(part, value), (given) => {
        try {
          const { sinks, rules } = readNotify(given);
          for (const { to } of rules) assert.ok(to.every((name) => sinks.some((sink) => sink.name === name)));
        } catch (error) {
          assert.ok(isAppError(error, 'bad-request'), String(error));
          assert.match(error.field ?? '', /^notify/);
        }
      }),
      { numRuns: 500 },
    );
  });
});

test('sinkTarget() and shownSink() show nothing that may be secret', () => {
  const secret = one({ webhook: 'https://hooks.example/hush?key=hush' });
  const command = one({ exec: ['/usr/local/bin/page', '--key', 'hush'] });
  for (const sink of [secret, command]) {
    assert.ok(sink !== undefined);
    assert.doesNotMatch(`${sinkTarget(sink)} ${JSON.stringify(shownSink(sink))}`, /hush/);
  }
});
