/** The program as a process of its own, from its sources or as the built binary: to be stopped, killed and asked. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createClient, type HoldfastClient } from '../../src/client/client.ts';
import { type Exchange, exchange, type HttpAnswer } from './http.ts';

const root = join(import.meta.dirname, '../..');

/** `{"ready":"registry","url","dataDir"}` */
export interface Ready {
  readonly ready: 'registry' | 'runner' | 'agent';
  readonly url: string;
  readonly dataDir: string;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface RunningProcess {
  readonly pid: number;
  readonly exited: Promise<Exit>;
  /** The ready line of a role; rejects with what it said on stderr when it ends before. */
  ready(role: Ready['ready']): Promise<Ready>;
  stdout(): string;
  stderr(): string;
  /** Sends the signal; resolves when the process has ended (not for SIGSTOP and SIGCONT). */
  kill(signal: NodeJS.Signals): Promise<Exit>;
  signal(signal: NodeJS.Signals): void;
}

export interface ProcessOptions {
  /** The program with its first arguments; Node and the sources when absent. */
  readonly command?: readonly string[];
  /** Nothing is inherited but PATH and HOME. */
  readonly env?: Readonly<Record<string, string>>;
  readonly readyWithinMs?: number;
  /** Whose process it is; only root may say. Its group is that of the same number, unless `gid` says another. */
  readonly uid?: number;
  readonly gid?: number;
}

/** Starts it; when the test ends and it still runs, it is killed. */
export function startProcess(
  t: { after(fn: () => Promise<void>): void },
  argv: readonly string[],
  options: ProcessOptions = {},
): RunningProcess {
  const {
    command = [process.execPath, join(root, 'src/main.ts')],
    env = {},
    readyWithinMs = 30_000,
  } = options;
  const [file = '', ...first] = command;
  const { PATH = '', HOME = '' } = process.env;
  const child = spawn(file, [...first, ...argv], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH, HOME, ...env },
    ...(options.uid === undefined ? {} : { uid: options.uid, gid: options.gid ?? options.uid }),
  });
  const exited = new Promise<Exit>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal }));
  });
  let [stdout, stderr] = ['', ''];
  const waiting = new Set<() => void>();
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    for (const look of waiting) look();
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const hasEnded = () => child.exitCode !== null || child.signalCode !== null;
  t.after(async () => {
    if (!hasEnded()) child.kill('SIGKILL');
    await exited;
  });
  return {
    pid: child.pid ?? -1,
    exited,
    stdout: () => stdout,
    stderr: () => stderr,
    ready: (role) =>
      new Promise<Ready>((resolve, reject) => {
        const fail = (why: string) => done(() => reject(new Error(`${role} ${why}; it said:\n${stderr}`)));
        const timer = setTimeout(() => fail(`was not ready within ${readyWithinMs} ms`), readyWithinMs);
        const done = (settle: () => void) => {
          clearTimeout(timer);
          waiting.delete(look);
          settle();
        };
        const look = () => {
          const line = readyLines(stdout).find(({ ready }) => ready === role);
          if (line !== undefined) done(() => resolve(line));
        };
        waiting.add(look);
        look();
        exited.then(({ code, signal }) => fail(`ended with ${code ?? signal}`), reject);
      }),
    async kill(signal) {
      child.kill(signal);
      return exited;
    },
    signal: (name) => signalTo(child, name),
  };
}

/** The role behind a ready line, as its admin. */
export interface Reached {
  readonly url: string;
  readonly dataDir: string;
  readonly token: string;
  readonly client: HoldfastClient;
  readonly http: (exchange: Exchange) => Promise<HttpAnswer>;
}

export function reach(
  t: { after(fn: () => Promise<void>): void },
  { url, dataDir }: Pick<Ready, 'url' | 'dataDir'>,
): Reached {
  const token = readFileSync(join(dataDir, 'admin.token'), 'utf8').trim();
  const client = createClient({ target: { url }, token });
  t.after(() => client.close());
  return { url, dataDir, token, client, http: (one) => exchange(url, { token, ...one }) };
}

export function registryArguments(dataDir: string, port = 0): string[] {
  return ['registry', '--tls', 'off', '--listen', `127.0.0.1:${port}`, '--data-dir', dataDir];
}

export interface AgentArguments {
  /** Null: it stands alone. */
  readonly registry: { readonly url: string; readonly dataDir: string } | null;
  readonly name?: string;
  readonly port?: number;
}

export function agentArguments(
  dataDir: string,
  { registry, name = 'edge-1', port = 0 }: AgentArguments,
): string[] {
  const whom =
    registry === null ? ['none'] : [registry.url, '--token-file', join(registry.dataDir, 'admin.token')];
  return [
    'agent',
    '--registry',
    ...whom,
    '--name',
    name,
    '--listen',
    `127.0.0.1:${port}`,
    '--data-dir',
    dataDir,
  ];
}

/** Where a ready role listens, to start the next one at the same place. */
export function portOf(url: string): number {
  return Number(new URL(url).port);
}

function readyLines(stdout: string): Ready[] {
  const lines = stdout.split('\n').slice(0, -1);
  return lines.filter((line) => line.startsWith('{"ready"')).map((line) => JSON.parse(line) as Ready);
}

function signalTo(child: ChildProcess, name: NodeJS.Signals): void {
  assert(child.kill(name), `process ${child.pid} is gone already`);
}
