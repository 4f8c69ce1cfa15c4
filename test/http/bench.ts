/**
 * The hot routes against a bare `node:http` server that parses and answers the same bodies; wrk, 64 connections, the
 * two alternating. `node test/http/bench.ts [seconds]`; needs wrk.
 */
import { execFileSync, fork } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { formatInstant } from '../../src/base/time.ts';
import { hostId, knownUuid, startServer, tokenOf } from './fakes.ts';

const seconds = Number(process.argv[2] ?? 4);
const beat = {
  bootId: 'c8a4c1f0-6b5f-4b2e-9b60-0c2f1d1b3c11',
  startedAt: '2026-01-01T00:00:00.000Z',
  seq: 4,
  own: { epoch: 1, revision: 1, hash: `sha256:${'0'.repeat(64)}` },
  seen: null,
  inventory: null,
};
const cases = [
  { name: 'is-up', method: 'GET', path: `/v1/is-up?uuid=${knownUuid}`, role: 'viewer', body: '' },
  {
    name: 'service heartbeat',
    method: 'POST',
    path: `/v1/services/${knownUuid}/heartbeat`,
    role: 'reporter',
    body: '',
  },
  {
    name: 'service heartbeat {}',
    method: 'POST',
    path: `/v1/services/${knownUuid}/heartbeat`,
    role: 'reporter',
    body: '{}',
  },
  {
    name: 'host heartbeat',
    method: 'POST',
    path: `/v1/hosts/${hostId}/heartbeat`,
    role: 'host',
    body: JSON.stringify(beat),
  },
] as const;

if (process.argv[2] === 'serve') await serve(process.argv[3] ?? '');
else await measure();

async function serve(which: string): Promise<void> {
  const say = (port: number): void => {
    process.send?.(port);
  };
  if (which === 'ours') return say((await startServer({ after: () => undefined })).port);
  const record = {
    uuid: knownUuid,
    type: 'web',
    host: 'edge-1',
    region: 'eu',
    status: 'UP',
    reason: null,
    ttl: 60,
    maintenance: null,
    confirmed: true,
    heldBy: 'registry',
  };
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      if (chunks.length > 0) JSON.parse(Buffer.concat(chunks).toString());
      const now = formatInstant(Date.now());
      const url = request.url ?? '';
      const answer = url.startsWith('/v1/is-up')
        ? {
            up: true,
            known: true,
            reason: null,
            maintenance: null,
            confirmed: true,
            stale: false,
            asOf: now,
            ageMs: 0,
          }
        : url.startsWith('/v1/hosts')
          ? {
              intervalMs: 10_000,
              spreadMs: 5_000,
              own: beat.own,
              seen: null,
              checkin: 'none',
              target: '1767225600000.2.1767200000000',
              acked: null,
              now,
            }
          : { ...record, lastSeen: now, version: 1 };
      const text = JSON.stringify(answer);
      response.writeHead(200, {
        'content-type': 'application/json; charset=utf-8',
        'content-length': Buffer.byteLength(text),
      });
      response.end(text);
    });
  });
  server.listen(0, '127.0.0.1', () => say((server.address() as { port: number }).port));
}

async function measure(): Promise<void> {
  const children = [
    fork(import.meta.filename, ['serve', 'bare']),
    fork(import.meta.filename, ['serve', 'ours']),
  ] as const;
  const ports = await Promise.all(
    children.map(
      (child) => new Promise<number>((resolve) => child.once('message', (port) => resolve(Number(port)))),
    ),
  );
  for (const { name, method, path, role, body } of cases) {
    const script = join(tmpdir(), `holdfast-bench-${process.pid}.lua`);
    const type =
      body === '' ? '' : `wrk.headers["Content-Type"] = "application/json"\nwrk.body = '${body}'\n`;
    writeFileSync(
      script,
      `wrk.method = "${method}"\nwrk.headers["Authorization"] = "Bearer ${tokenOf(role)}"\n${type}`,
    );
    const results: { rate: number; cpuUs: number }[][] = [[], []];
    for (let round = 0; round < 3; round += 1) {
      for (const [index, port] of ports.entries()) {
        const pid = children[index]?.pid ?? 0;
        const before = cpuMs(pid);
        const text = execFileSync(
          'wrk',
          ['-t1', '-c64', `-d${seconds}`, '-s', script, `http://127.0.0.1:${port}${path}`],
          { encoding: 'utf8' },
        );
        if (text.includes('Non-2xx')) throw new Error(text);
        const count = Number(/(\d+) requests in/.exec(text)?.[1]);
        results[index]?.push({
          rate: Number(/Requests\/sec:\s+([\d.]+)/.exec(text)?.[1]),
          cpuUs: ((cpuMs(pid) - before) * 1_000) / count,
        });
      }
    }
    const [bare, ours] = results.map((list) => list.sort((a, b) => a.rate - b.rate)[1]);
    if (bare === undefined || ours === undefined) continue;
    // biome-ignore lint/suspicious/noConsole: a bench prints
    console.log(
      `${name.padEnd(22)} bare ${bare.rate.toFixed(0)}/s ${bare.cpuUs.toFixed(1)} µs  ours ${ours.rate.toFixed(0)}/s ${ours.cpuUs.toFixed(1)} µs  ratio ${(ours.rate / bare.rate).toFixed(2)}`,
    );
  }
  for (const child of children) child.kill();
}

function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10;
}
