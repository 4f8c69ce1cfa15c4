import assert from 'node:assert/strict';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { limits } from '../../src/base/limits.ts';
import { RunnerClient } from '../../src/client/runner.ts';
import { isAppError } from '../../src/domain/error.ts';
import { tempFolder } from '../helpers/temp.ts';
import { until } from '../helpers/until.ts';

interface Test {
  after(fn: () => void | Promise<void>): void;
}

const never = new AbortController().signal;
const step = { kind: 'check', check: 'a' } as const;

/** Something that listens where a runner would; `answer` gets each line and the connection. */
async function listening(t: Test, answer: (line: string, socket: Socket) => void) {
  const path = join(tempFolder(t), 'r.sock');
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.setEncoding('utf8').on('data', (text) => {
      for (const line of String(text).trim().split('\n')) answer(line, socket);
    });
    socket.on('error', () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const client = new RunnerClient({ socket: path });
  t.after(() => client.close());
  return { client, sockets };
}

test('RunnerClient says that there is no runner, and why', async () => {
  for (const [socket, words] of [
    [
      '/nonexistent/runner.sock',
      /no runner at \/nonexistent\/runner\.sock, there is no such socket; "systemctl start holdfast-runner" starts one, or "holdfast runner"/,
    ],
    ['/etc/passwd', /no runner at \/etc\/passwd/],
  ] as const) {
    const client = new RunnerClient({ socket });
    for (const ask of [() => client.run(step, { signal: never }), () => client.status()])
      await assert.rejects(ask(), (error) => isAppError(error, 'unavailable') && words.test(error.message));
    assert.equal(client.isConnected, false);
  }
});

test('RunnerClient believes nothing that is no answer of a runner, and connects anew when it is asked again', async (t) => {
  let answer = '';
  const { client, sockets } = await listening(t, (line, socket) => {
    const { id } = JSON.parse(line) as { id: string };
    socket.write(answer.replace('ID', id));
  });
  const envelope = (body: unknown) =>
    `${JSON.stringify({ v: 1, id: 'ID', mimetype: 'application/json', body })}\n`;
  const whole = { startedAtMs: 0, durationMs: 0, stdout: '', stderr: '', droppedBytes: 0, adopted: false };
  const wrong = [
    'HTTP/1.1 400 Bad Request\r\n\r\n',
    '{}\n',
    envelope(null),
    envelope({ kind: 'maybe' }),
    envelope({ kind: 'error', code: 'no-such-code', detail: 'x' }),
    envelope({ kind: 'result', result: {} }),
    envelope({ kind: 'result', result: { ...whole, end: { kind: 'exited' } } }),
    envelope({ kind: 'result', result: { ...whole, end: { kind: 'won' } } }),
    envelope({ kind: 'result', result: { ...whole, end: { kind: 'cancelled' }, stdout: 1 } }),
  ];
  for (const text of wrong) {
    answer = text;
    await assert.rejects(
      client.run(step, { signal: never }),
      (error) => isAppError(error, 'unavailable') && /no runner/.test(error.message),
      text,
    );
  }
  assert.equal(sockets.size, wrong.length);
  answer = envelope({ kind: 'result', result: { ...whole, end: { kind: 'exited', exitCode: 0 } } });
  assert.deepEqual((await client.run(step, { signal: never })).end, { kind: 'exited', exitCode: 0 });
  answer = envelope({ kind: 'error', code: 'not-found', detail: 'no such check', details: { reason: 'x' } });
  await assert.rejects(
    client.run(step, { signal: never }),
    (error) => isAppError(error, 'not-found') && error.details['reason'] === 'x',
  );
  assert.equal(sockets.size, wrong.length + 1, 'by the same connection');
});

test('RunnerClient takes back a question that is aborted, and answers others under their own ids', async (t) => {
  const heard: { id: string; op: string }[] = [];
  const { client } = await listening(t, (line, socket) => {
    const { id, body } = JSON.parse(line) as { id: string; body: { op: string } };
    heard.push({ id, op: body.op });
    if (body.op === 'status')
      socket.write(
        `${JSON.stringify({ v: 1, id, mimetype: 'application/json', body: { kind: 'status', status: { version: '1' } } })}\n`,
      );
  });
  const asked = new AbortController();
  const question = client.run(step, { signal: asked.signal });
  const { version } = await client.status();
  assert.equal(version, '1');
  asked.abort(new Error('no longer'));
  await assert.rejects(question, /no longer/);
  await client.status();
  assert.deepEqual(
    heard.map(({ op }) => op),
    ['run', 'status', 'cancel', 'status'],
  );
  assert.equal(heard[2]?.id, heard[0]?.id);
  await assert.rejects(client.run(step, { signal: AbortSignal.abort(new Error('before')) }), /before/);
});

test('RunnerClient tells who waits that the runner went away', async (t) => {
  const { client, sockets } = await listening(t, () => {
    for (const socket of sockets) socket.destroy();
  });
  await assert.rejects(
    client.run(step, { signal: never }),
    (error) => isAppError(error, 'unavailable') && /the connection broke/.test(error.message),
  );
});

test('RunnerClient that is closed tells whoever asks it at that moment, connected or not', async (t) => {
  const { client, sockets } = await listening(t, () => undefined);
  const broken = (error: unknown) => isAppError(error, 'unavailable');
  const unconnected = client.run(step, { signal: never });
  client.close();
  await assert.rejects(unconnected, broken);
  const connected = client.run(step, { signal: never });
  await until(() => client.isConnected && sockets.size > 0);
  const [asked, another] = [connected, client.run(step, { signal: never })];
  client.close();
  await assert.rejects(asked, broken);
  await assert.rejects(another, broken);
});

test('RunnerClient refuses a question that no runner would read', async (t) => {
  const { client } = await listening(t, () => undefined);
  const target = { body: '"'.repeat(limits.runnerLineBytes / 2), signature: 'x' };
  await assert.rejects(
    client.run({ kind: 'placement', target, service: 'a', command: 'apply' }, { signal: never }),
    (error) => isAppError(error, 'too-large'),
  );
});
