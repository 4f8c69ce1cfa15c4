/** One etcd on a temporary folder, spoken to over its HTTP gateway, which is how a program without gRPC would. */
import { type Bench, callJson, newFolder } from './bench.ts';
import { freePort, type Server, sleep } from './processes.ts';

export interface Etcd {
  readonly server: Server;
  readonly url: string;
  call<T>(path: string, body: unknown): Promise<T>;
}

/** Null when etcd cannot be had. */
export async function startEtcd(bench: Bench): Promise<Etcd | null> {
  if (bench.tools.etcd === null) return null;
  const [client, peer] = [`http://127.0.0.1:${await freePort()}`, `http://127.0.0.1:${await freePort()}`];
  const args = [
    ...['--data-dir', await newFolder(bench, 'etcd'), '--logger', 'zap', '--log-level', 'error'],
    ...['--listen-client-urls', client, '--advertise-client-urls', client],
    ...[
      '--listen-peer-urls',
      peer,
      '--initial-advertise-peer-urls',
      peer,
      '--initial-cluster',
      `default=${peer}`,
    ],
  ];
  const server = bench.processes.server(bench.tools.etcd, args);
  for (let waited = 0; ; waited += 100) {
    const healthy = await fetch(`${client}/health`).then(
      (response) => response.ok,
      () => false,
    );
    if (healthy) break;
    if (waited > 20_000) throw new Error(`etcd did not become healthy: ${server.output()}`);
    await sleep(100);
  }
  return { server, url: client, call: (path, body) => callJson(client, null, 'POST', path, body) };
}

export function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}
