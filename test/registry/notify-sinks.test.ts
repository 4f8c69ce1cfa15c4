/** Each kind of sink against a real server of its kind: what arrives there, and what is made of its answers. */
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { chmodSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { SMTPServer, type SMTPServerOptions } from 'smtp-server';
import { systemClock } from '../../src/base/clock.ts';
import { isLinkLocal } from '../../src/client/egress.ts';
import { AppError, isAppError } from '../../src/domain/error.ts';
import type { ChangeEvent } from '../../src/domain/event.ts';
import { readNotify } from '../../src/domain/notify.ts';
import { type Entry, type NotifyMessage, testMessage } from '../../src/domain/notify-batch.ts';
import { titleOf, toldBy } from '../../src/domain/notify-words.ts';
import { createExec } from '../../src/registry/notify/exec-sink.ts';
import {
  createAlertmanager,
  createSlack,
  createWebhook,
  sign,
  slackText,
} from '../../src/registry/notify/http-sinks.ts';
import { createMail } from '../../src/registry/notify/mail-sink.ts';
import type { Sender } from '../../src/registry/notify/sender.ts';
import { tlsServer } from '../client/tls-server.ts';
import { makePair } from '../helpers/certificates.ts';
import { hookServer } from '../helpers/hook-server.ts';
import { tempFolder } from '../helpers/temp.ts';
import { startRunner } from '../runner/world.ts';

const surroundings = { clock: systemClock, proxy: {}, runner: null };
const signal = new AbortController().signal;

function specOf<Kind extends string>(sink: object, kind: Kind) {
  const [spec] = readNotify({ sinks: { ops: sink } }).sinks;
  assert.ok(spec?.kind === kind);
  return spec as Extract<typeof spec, { kind: Kind }>;
}

function lapse(name: string): Entry {
  const event: ChangeEvent = {
    type: 'host.lapsed',
    position: '1.7',
    index: 0,
    at: '2026-01-01T00:00:00.000Z',
    actor: 'system',
    host: name,
    body: { id: `id-${name}`, name, region: 'eu', status: 'DOWN' },
  };
  const alert = { labels: { alertname: 'HoldfastHostDown', host: name }, summary: titleOf(event) };
  return {
    title: titleOf(event),
    told: toldBy(event),
    event,
    alert: { ...alert, startsAtMs: Date.parse(event.at), endsAtMs: null },
  };
}

function message(...names: string[]): NotifyMessage {
  const entries = names.map(lapse);
  const title = entries.length === 1 ? (entries[0]?.title ?? '') : `${entries.length} changes`;
  return { id: 'd1', kind: 'events', sink: 'ops', rule: 'r', group: {}, title, atMs: 0, entries, more: 0 };
}

/** A file that is kept like a secret. */
function secretFile(t: TestContext, text: string): string {
  const file = join(tempFolder(t), 'secret');
  writeFileSync(file, `${text}\n`, { mode: 0o600 });
  return file;
}

async function refusalOf(sender: Sender, sent = message('a')): Promise<AppError> {
  return sender.deliver(sent, { signal }).then(
    () => assert.fail('it was taken'),
    (error: unknown) => {
      assert.ok(error instanceof AppError, String(error));
      return error;
    },
  );
}

suite('a webhook', () => {
  test('gets the message as JSON, signed so that whoever has the secret can tell', async (t) => {
    const hook = await hookServer(t);
    hook.answer = (_taken, response) => response.writeHead(202).end('queued\u0007\n');
    const file = secretFile(t, 'hush');
    const spec = specOf({ webhook: `${hook.url}/in?k=1`, secretFile: file }, 'webhook');
    const sender = createWebhook(spec, surroundings);
    t.after(() => sender.close());
    assert.equal(await sender.deliver(message('a', 'b'), { signal }), '202: queued');
    const [taken] = hook.taken;
    assert.ok(taken !== undefined);
    const { headers, text, body } = taken;
    assert.equal(taken.path, '/in?k=1');
    assert.equal(headers['x-holdfast-delivery'], 'd1');
    const wanted = createHmac('sha256', 'hush')
      .update(`${headers['x-holdfast-timestamp']}.${text}`)
      .digest('hex');
    assert.equal(headers['x-holdfast-signature'], `sha256=${wanted}`);
    assert.notEqual(sign('other', text), wanted);
    assert.deepEqual(
      {
        ...body,
        events: (body as unknown as { events: { title: string }[] }).events.map(({ title }) => title),
      },
      {
        ...{ id: 'd1', kind: 'events', sink: 'ops', rule: 'r', group: {}, title: '2 changes' },
        at: '1970-01-01T00:00:00.000Z',
        events: ['host a is DOWN: it is silent', 'host b is DOWN: it is silent'],
        more: 0,
      },
    );
    // The secret is read anew: it may have been replaced.
    writeFileSync(file, 'another');
    await sender.deliver(message('a'), { signal });
    const second = hook.taken[1];
    assert.equal(
      second?.headers['x-holdfast-signature'],
      `sha256=${sign('another', `${second?.headers['x-holdfast-timestamp']}.${second?.text}`)}`,
    );
  });

  test('says by its status what becomes of the message', async (t) => {
    const hook = await hookServer(t);
    const sender = createWebhook(specOf({ webhook: hook.url }, 'webhook'), surroundings);
    t.after(() => sender.close());
    for (const [status, code] of [
      [301, 'internal'],
      [400, 'unprocessable'],
      [401, 'forbidden'],
      [404, 'not-found'],
      [413, 'unprocessable'],
      [429, 'unavailable'],
      [500, 'internal'],
      [503, 'unavailable'],
    ] as const) {
      hook.answer = (_taken, response) =>
        response.writeHead(status, { 'retry-after': '7', location: 'http://127.0.0.1:1/' }).end('why');
      const refusal = await refusalOf(sender);
      assert.deepEqual([refusal.code, refusal.retryAfterMs], [code, 7_000], String(status));
      assert.match(refusal.message, new RegExp(`answered ${status}: why`));
    }
    assert.equal(hook.taken.length, 8, 'no redirect was followed');
  });

  test('shows no secret of what the other side says', async (t) => {
    const hook = await hookServer(t);
    hook.answer = ({ headers }, response) =>
      response.writeHead(403).end(`bad token ${headers.authorization} for hush-key`);
    const spec = specOf(
      { webhook: hook.url, secretFile: secretFile(t, 'hush-key'), tokenFile: secretFile(t, 'hush-token') },
      'webhook',
    );
    const sender = createWebhook(spec, surroundings);
    t.after(() => sender.close());
    const { message: text } = await refusalOf(sender);
    assert.match(text, /answered 403: bad token Bearer \*\*\* for \*\*\*/);
    // Not the beginning of one either, where the text is cut.
    hook.answer = (_taken, response) => response.writeHead(403).end(`${'x'.repeat(194)} hush-token`);
    assert.doesNotMatch((await refusalOf(sender)).message, /hush/);
  });

  test('that answers without end is read to its limit, and one that does not answer to its time', async (t) => {
    const hook = await hookServer(t);
    const sender = createWebhook(specOf({ webhook: hook.url, timeout: '300ms' }, 'webhook'), surroundings);
    t.after(() => sender.close());
    hook.answer = (_taken, response) => {
      response.writeHead(200);
      const more = () => {
        while (response.write('x'.repeat(65_536)));
      };
      response.on('drain', more);
      more();
    };
    assert.match(await sender.deliver(message('a'), { signal }), /^200: x+…$/);
    hook.answer = () => undefined;
    const late = await refusalOf(sender);
    assert.deepEqual([late.code, /has not answered within 0\.3 s/.test(late.message)], ['unavailable', true]);
  });

  test('refuses a file that is no secret, and nothing is sent', async (t) => {
    const hook = await hookServer(t);
    const file = secretFile(t, 'hush');
    chmodSync(file, 0o644);
    const sender = createWebhook(specOf({ webhook: hook.url, secretFile: file }, 'webhook'), surroundings);
    const refusal = await refusalOf(sender);
    assert.match(refusal.message, /mode is 0644, expected 0600; run chmod 600/);
    assert.deepEqual([refusal.code, hook.taken.length], ['forbidden', 0]);
  });

  test('over TLS is believed by its own CA only', async (t) => {
    const { ca, leaf } = makePair({ names: ['localhost'] });
    const server = await tlsServer(t, leaf);
    const file = join(tempFolder(t), 'ca.pem');
    writeFileSync(file, ca.cert);
    const good = createWebhook(specOf({ webhook: server.url, caFile: file }, 'webhook'), surroundings);
    t.after(() => good.close());
    assert.match(await good.deliver(message('a'), { signal }), /^200/);
    const bad = createWebhook(specOf({ webhook: server.url }, 'webhook'), surroundings);
    t.after(() => bad.close());
    assert.equal((await refusalOf(bad)).code, 'unavailable');
    assert.equal(server.requests.length, 1);
  });

  test('at a link-local address is never spoken to', async () => {
    for (const url of [
      'http://169.254.169.254/latest',
      'http://[fe80::1]/',
      'http://[::ffff:169.254.1.1]/',
    ]) {
      const refusal = await refusalOf(createWebhook(specOf({ webhook: url }, 'webhook'), surroundings));
      assert.ok(isAppError(refusal, 'forbidden'), url);
      assert.match(refusal.message, /is a link-local address, which nothing is ever sent to/);
    }
    for (const address of ['10.0.0.1', '169.253.1.1', '127.0.0.1', '::1', 'fd00::1', '2001:db8::1'])
      assert.equal(isLinkLocal(address), false, address);
    assert.equal(isLinkLocal('fe80::1%eth0'), true);
  });
});

suite('Slack', () => {
  test('gets words in which nothing of a host works as a sign of Slack', async (t) => {
    const hook = await hookServer(t);
    hook.answer = (_taken, response) => response.writeHead(200).end('ok');
    const file = secretFile(t, `${hook.url}/services/T0/B0/hush`);
    const sender = createSlack(specOf({ slack: file }, 'slack'), surroundings);
    t.after(() => sender.close());
    assert.equal(await sender.deliver(message('<!channel>', 'b*&'), { signal }), '200: ok');
    assert.equal(hook.taken[0]?.path, '/services/T0/B0/hush');
    assert.equal(
      (JSON.parse(hook.taken[0]?.text ?? '') as { text: string }).text,
      ':red_circle: *2 changes*\n• 2026-01-01T00:00:00.000Z  host &lt;!channel&gt; is DOWN: it is silent\n• 2026-01-01T00:00:00.000Z  host b∗&amp; is DOWN: it is silent',
    );
    hook.answer = ({ path }, response) => response.writeHead(404).end(`no_service ${path}`);
    const { message: text } = await refusalOf(sender);
    assert.equal(text, 'Slack answered 404: no_service ***');
    writeFileSync(file, 'http://hooks.example/hush');
    const wrong = await refusalOf(sender);
    assert.match(wrong.message, /expected the https URL/);
    assert.doesNotMatch(wrong.message, /hush/);
  });

  test('gets no more than it shows', () => {
    const many = message(...Array.from({ length: 50 }, (_, index) => `${'h'.repeat(200)}${index}`));
    const text = slackText({ ...many, more: 17 });
    assert.ok(text.length < 4_000);
    const [, count] = /and (\d+) more$/.exec(text) ?? [];
    assert.equal(Number(count), 67 - (text.match(/• /g)?.length ?? 0));
  });
});

suite('Alertmanager', () => {
  test('gets alerts with their labels, and those that fire for as long as they are told again', async (t) => {
    const hook = await hookServer(t);
    const sender = createAlertmanager(
      specOf({ alertmanager: `${hook.url}/am/`, labels: { team: 'ops' } }, 'alertmanager'),
      surroundings,
    );
    t.after(() => sender.close());
    await sender.deliver(message('a', 'b', 'a'), { signal });
    const [taken] = hook.taken;
    const alerts = JSON.parse(taken?.text ?? '') as {
      labels: Record<string, string>;
      annotations: object;
      startsAt: string;
      endsAt: string;
    }[];
    assert.equal(taken?.path, '/am/api/v2/alerts');
    assert.deepEqual(
      alerts.map(({ labels }) => labels['host']),
      ['a', 'b'],
    );
    assert.deepEqual(alerts[0]?.annotations, { summary: 'host a is DOWN: it is silent' });
    assert.equal(alerts[0]?.startsAt, '2026-01-01T00:00:00.000Z');
    const keptMs = Date.parse(alerts[0]?.endsAt ?? '') - Date.now();
    assert.ok(keptMs > 180_000 && keptMs <= 240_000, `it is kept for ${keptMs} ms`);
    const sent = testMessage({ sink: 'ops', id: 't', by: 'ann', nowMs: 1_000 });
    await sender.deliver(sent, { signal });
    assert.match(
      hook.taken[1]?.text ?? '',
      /"labels":\{"team":"ops","alertname":"HoldfastTest","sink":"ops"\}/,
    );
  });
});

interface Mail {
  readonly text: string;
  readonly from: string;
  readonly to: readonly string[];
  readonly isSecure: boolean;
  readonly user: string | undefined;
}

async function mailServer(t: TestContext, options: SMTPServerOptions = {}) {
  const mails: Mail[] = [];
  const server = new SMTPServer({
    logger: false,
    authOptional: true,
    allowInsecureAuth: false,
    onAuth: ({ username, password }, _session, done) =>
      password === 'hush' ? done(null, { user: username }) : done(new Error('no such login')),
    onData(stream, { envelope, secure, user }, done) {
      const chunks: Uint8Array[] = [];
      stream.on('data', (chunk: Uint8Array) => chunks.push(chunk));
      stream.on('end', () => {
        mails.push({
          text: Buffer.concat(chunks).toString('utf8'),
          from: envelope.mailFrom === false ? '' : envelope.mailFrom.address,
          to: envelope.rcptTo.map(({ address }) => address),
          isSecure: secure,
          user: user as string | undefined,
        });
        done(null, 'queued as 1');
      });
    },
    ...options,
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  server.on('error', () => undefined);
  t.after(() => new Promise<void>((resolve) => server.close(resolve)));
  return { mails, port: (server.server.address() as AddressInfo).port };
}

suite('mail', () => {
  const people = { mail: ['ops@example.org', 'ann@example.org'], from: 'holdfast@example.org' };
  const { ca, leaf } = makePair({ names: ['localhost'] });
  const caFile = (t: TestContext) => {
    const file = join(tempFolder(t), 'ca.pem');
    writeFileSync(file, ca.cert);
    return file;
  };

  test('comes in words that a person reads, with the same id when it is sent again', async (t) => {
    const { mails, port } = await mailServer(t);
    const sender = createMail(specOf({ ...people, smtp: `smtp://127.0.0.1:${port}` }, 'mail'), surroundings);
    assert.match(await sender.deliver(message('a', 'b'), { signal }), /^250 .*queued as 1/);
    const [mail] = mails;
    assert.ok(mail !== undefined);
    assert.deepEqual([mail.from, mail.to, mail.isSecure], ['holdfast@example.org', people.mail, false]);
    assert.match(mail.text, /^Subject: \[holdfast DOWN\] 2 changes\r$/m);
    assert.match(mail.text, /^Message-ID: <d1@example\.org>\r$/m);
    assert.match(mail.text, /^X-Holdfast-Delivery: d1\r$/m);
    assert.match(
      mail.text,
      /\r\n\r\n2 changes\r\n\r\n2026-01-01T00:00:00\.000Z {2}host a is DOWN: it is silent\r\n/,
    );
    assert.match(mail.text, /Sent to the sink "ops" by the rule "r"\.\r\n$/);
  });

  test('has no header and no line that a host could add', async (t) => {
    const { mails, port } = await mailServer(t);
    const sender = createMail(specOf({ ...people, smtp: `smtp://127.0.0.1:${port}` }, 'mail'), surroundings);
    const sent = message('evil\r\nBcc: x@y.z\r\n\r\n.\r\nMAIL FROM:<x@y.z>');
    await sender.deliver({ ...sent, title: 'evil\r\nBcc: x@y.z' }, { signal });
    await sender.deliver({ ...message('ü'), title: `ü ${'w'.repeat(500)}` }, { signal });
    const [mail, long] = mails;
    const [head = ''] = (mail?.text ?? '').split('\r\n\r\n');
    assert.doesNotMatch(head, /^Bcc/im);
    assert.match(head, /^Subject: \[holdfast DOWN\] evil Bcc: x@y\.z\r$/m);
    assert.deepEqual([mails.length, mail?.to.length], [2, 2]);
    const [longHead = ''] = (long?.text ?? '').split('\r\n\r\n');
    assert.ok(longHead.split('\r\n').every((line) => line.length <= 998));
  });

  test('goes over TLS from the first byte on or by STARTTLS, with a login, to who can prove its name', async (t) => {
    const tls = { key: leaf.key, cert: leaf.cert };
    const login = { login: 'me', passwordFile: secretFile(t, 'hush'), caFile: caFile(t) };
    const [whole, later] = [await mailServer(t, { ...tls, secure: true }), await mailServer(t, tls)];
    const over = (port: number, more: object) =>
      createMail(
        specOf(
          { ...people, ...login, ...more, smtp: `${'tls' in more ? 'smtp' : 'smtps'}://localhost:${port}` },
          'mail',
        ),
        surroundings,
      );
    await over(whole.port, {}).deliver(message('a'), { signal });
    await over(later.port, { tls: 'starttls' }).deliver(message('a'), { signal });
    for (const { mails } of [whole, later])
      assert.deepEqual([mails.length, mails[0]?.isSecure, mails[0]?.user], [1, true, 'me']);
    // Somebody else's certificate, and a wrong password.
    const { caFile: _own, ...strange } = login;
    const spec = specOf(
      { ...people, ...strange, tls: 'starttls', smtp: `smtp://localhost:${later.port}` },
      'mail',
    );
    assert.equal((await refusalOf(createMail(spec, surroundings))).code, 'unavailable');
    const wrong = await refusalOf(
      over(later.port, { tls: 'starttls', passwordFile: secretFile(t, 'wrong') }),
    );
    assert.equal(wrong.code, 'forbidden');
    assert.doesNotMatch(wrong.message, /wrong/);
    assert.equal(later.mails.length, 1);
  });

  test('is not sent in the clear where TLS is wanted and not offered', async (t) => {
    const { mails, port } = await mailServer(t, { disabledCommands: ['STARTTLS'] });
    const spec = specOf({ ...people, tls: 'starttls', smtp: `smtp://localhost:${port}` }, 'mail');
    await refusalOf(createMail(spec, surroundings));
    assert.equal(mails.length, 0);
  });

  test('says by its answer what becomes of the message', async (t) => {
    const error = (responseCode: number) => Object.assign(new Error('no'), { responseCode });
    for (const [responseCode, code] of [
      [450, 'unavailable'],
      [550, 'unprocessable'],
    ] as const) {
      const { port } = await mailServer(t, {
        onMailFrom: (_address, _session, done) => done(error(responseCode)),
      });
      const sender = createMail(
        specOf({ ...people, smtp: `smtp://127.0.0.1:${port}` }, 'mail'),
        surroundings,
      );
      const refusal = await refusalOf(sender);
      assert.deepEqual([refusal.code, /did not take the mail: /.test(refusal.message)], [code, true]);
    }
    const { port } = await mailServer(t, { onConnect: () => undefined });
    const slow = specOf({ ...people, timeout: '300ms', smtp: `smtp://127.0.0.1:${port}` }, 'mail');
    assert.match(
      (await refusalOf(createMail(slow, surroundings))).message,
      /has not taken the mail within 0\.3 s/,
    );
  });
});

suite('exec', () => {
  const start = async (t: TestContext, command: readonly string[]) => {
    const sinks = readNotify({ sinks: { ops: { exec: command } } }).sinks;
    const { socket } = await startRunner(t, { registry: { sinks: () => Promise.resolve(sinks) } });
    const { RunnerClient } = await import('../../src/client/runner.ts');
    const runner = new RunnerClient({ socket: socket.replace('runner.sock', 'notify.sock') });
    t.after(() => runner.close());
    const [spec] = sinks;
    assert.ok(spec?.kind === 'exec');
    return { runner, sender: createExec(spec, { ...surroundings, runner }) };
  };

  test('gives a command of registry.yaml the message on stdin, and hears how it ended', async (t) => {
    const { sender } = await start(t, ['sh', '-c', 'cat >&2; exit 0']);
    assert.match(await sender.deliver(message('a'), { signal }), /^exit 0: \{"id":"d1","kind":"events"/);
    for (const [script, code, words] of [
      ['echo busy; exit 75', 'unavailable', /ended with exit 75: busy/],
      ['exit 3', 'internal', /ended with exit 3$/],
      ['kill -KILL $$', 'internal', /was ended by SIGKILL/],
    ] as const) {
      const { sender: failing } = await start(t, ['sh', '-c', script]);
      const refusal = await refusalOf(failing);
      assert.equal(refusal.code, code);
      assert.match(refusal.message, words);
    }
  });

  test('takes the largest message, also when the command does not read it', async (t) => {
    const { runner } = await start(t, ['sh', '-c', 'wc -c']);
    const run = (input: string) => runner.run({ kind: 'notify', sink: 'ops', input }, { signal });
    assert.equal((await run('x'.repeat(262_144))).stdout.trim(), '262144');
    await assert.rejects(run('x'.repeat(262_145)), (error) => isAppError(error, 'bad-request'));
    const { runner: deaf } = await start(t, ['true']);
    const { end } = await deaf.run({ kind: 'notify', sink: 'ops', input: 'x'.repeat(262_144) }, { signal });
    assert.deepEqual(end, { kind: 'exited', exitCode: 0 });
  });

  test('lets the registry have nothing else done, and the agent no sink', async (t) => {
    const sinks = readNotify({
      sinks: { ops: { exec: ['true'] }, hook: { webhook: 'https://x.example' } },
    }).sinks;
    const world = await startRunner(t, {
      checks: [{ type: 'a', exec: ['true'] }],
      registry: { sinks: () => Promise.resolve(sinks) },
    });
    const { RunnerClient } = await import('../../src/client/runner.ts');
    const registry = new RunnerClient({ socket: world.socket.replace('runner.sock', 'notify.sock') });
    t.after(() => registry.close());
    const refused = (asked: Promise<unknown>, code: 'forbidden' | 'not-found') =>
      assert.rejects(asked, (error) => isAppError(error, code));
    await refused(registry.run({ kind: 'check', check: 'a' }, { signal }), 'forbidden');
    await refused(registry.status({ signal }), 'forbidden');
    await refused(registry.trust('x', [{ key: 'a', publicKey: 'b' }], { signal }), 'forbidden');
    for (const sink of ['hook', 'none', 'true'])
      await refused(registry.run({ kind: 'notify', sink, input: '' }, { signal }), 'not-found');
    await refused(world.client.run({ kind: 'notify', sink: 'ops', input: '' }, { signal }), 'forbidden');
    assert.equal((await world.check('a')).end.kind, 'exited');
  });
});
