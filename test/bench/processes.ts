/**
 * The processes of a bench run: servers share one core, load generators and this program have the other. Everything
 * started here is ended here, by its pid, also on Ctrl-C.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { availableParallelism } from 'node:os';

/** With one core everything shares it, and the header says so. */
export const pinned = availableParallelism() > 1;
export const serverCore = 0;
export const loadCore = 1;

const ticksPerSecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

export interface Server {
  readonly pid: number;
  /** What it has written to stdout and stderr so far. */
  readonly output: () => string;
  /** Resolves when `pattern` stands in its stdout; rejects when it ends before, or after `timeoutMs`. */
  ready(pattern: RegExp, timeoutMs?: number): Promise<RegExpExecArray>;
  /** Sends the signal (SIGTERM) and resolves when it has ended; after 5 s it is killed. */
  stop(signal?: NodeJS.Signals): Promise<void>;
}

export class Processes {
  readonly #running = new Set<ChildProcess>();

  /** Puts this process, and with it what it starts unpinned, on the load core. */
  pinSelf(): void {
    if (pinned) execFileSync('taskset', ['-acp', String(loadCore), String(process.pid)], { stdio: 'ignore' });
  }

  /** On the server core, or on the other: a load generator that is told and listened to like a server. */
  server(
    file: string,
    args: readonly string[],
    options: { env?: NodeJS.ProcessEnv; cwd?: string; core?: number } = {},
  ): Server {
    const [command, all] = pinned
      ? ['taskset', ['-c', String(options.core ?? serverCore), file, ...args]]
      : [file, [...args]];
    const child = spawn(command, all, {
      stdio: ['ignore', 'pipe', 'pipe'],
      // Nothing inherited: NODE_EXTRA_CA_CERTS alone costs every Node process megabytes and milliseconds.
      env: { PATH: process.env['PATH'], LANG: 'C.UTF-8', ...options.env },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    return this.#own(child, file);
  }

  /** On the load core; resolves with its stdout. */
  async run(file: string, args: readonly string[], options: { timeoutMs: number }): Promise<string> {
    const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#running.add(child);
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (data: Buffer) => (stdout += data.toString()));
    child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
    const timer = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs);
    try {
      const code = await new Promise<number | null>((resolve, reject) => {
        child.once('error', reject);
        child.once('close', resolve);
      });
      if (code !== 0) throw new Error(`${file} ended with ${code}: ${stderr || stdout}`);
      return stdout;
    } finally {
      clearTimeout(timer);
      this.#running.delete(child);
    }
  }

  /** For the end of a run, and for signals: nothing of ours stays. */
  killAll(): void {
    for (const child of this.#running) child.kill('SIGKILL');
  }

  #own(child: ChildProcess, name: string): Server {
    this.#running.add(child);
    let output = '';
    const listeners = new Set<() => void>();
    const note = (data: Buffer) => {
      // Enough for a ready line and for the reason of a failure.
      if (output.length < 65_536) output += data.toString();
      for (const listener of listeners) listener();
    };
    child.stdout?.on('data', note);
    child.stderr?.on('data', note);
    const ended = new Promise<void>((resolve) => {
      const done = () => {
        this.#running.delete(child);
        for (const listener of listeners) listener();
        resolve();
      };
      child.once('close', done);
      child.once('error', done);
    });
    return {
      pid: child.pid ?? -1,
      output: () => output,
      ready(pattern, timeoutMs = 20_000) {
        return new Promise((resolve, reject) => {
          const settle = (error?: Error) => {
            const match = pattern.exec(output);
            const gone = child.exitCode !== null || child.signalCode !== null;
            if (match === null && error === undefined && !gone) return;
            listeners.delete(look);
            clearTimeout(timer);
            if (match !== null) resolve(match);
            else reject(error ?? new Error(`${name} ended before it was ready: ${output}`));
          };
          const look = () => settle();
          const timer = setTimeout(
            () => settle(new Error(`${name} was not ready in ${timeoutMs} ms: ${output}`)),
            timeoutMs,
          );
          listeners.add(look);
          look();
        });
      },
      async stop(signal = 'SIGTERM') {
        if (child.exitCode !== null || child.signalCode !== null) return ended;
        child.kill(signal);
        const timer = setTimeout(() => child.kill('SIGKILL'), 5_000);
        await ended;
        clearTimeout(timer);
      },
    };
  }
}

/** CPU seconds of a process with all its threads, user and system, in steps of a clock tick (10 ms). */
export function cpuSeconds(pid: number): number {
  // The name in parentheses may hold anything; the fields after it are numbered from 3.
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
}

/** The same to the nanosecond, for what hardly runs; of the threads that live now. */
export function cpuSecondsExact(pid: number): number {
  const folder = `/proc/${pid}/task`;
  const ns = readdirSync(folder).map((thread) =>
    Number(readFileSync(`${folder}/${thread}/schedstat`, 'utf8').split(' ')[0]),
  );
  return ns.reduce((sum, one) => sum + one, 0) / 1e9;
}

export interface Memory {
  readonly rssKib: number;
  readonly anonKib: number;
  readonly fileKib: number;
  readonly pssKib: number;
}

export function memoryOf(pid: number): Memory {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const field = (text: string, name: string) =>
    Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1] ?? Number.NaN);
  return {
    rssKib: field(status, 'VmRSS'),
    anonKib: field(status, 'RssAnon'),
    fileKib: field(status, 'RssFile'),
    pssKib: field(rollup, 'Pss'),
  };
}

/** A port of loopback that nobody has at this moment; for programs that cannot take port 0 or have to keep theirs. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
