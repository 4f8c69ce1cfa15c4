/** Starting runners as processes of their own (mortal.ts), one after another on one data directory. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { RunnerClient } from '../../src/client/runner.ts';
import type { MortalOptions } from './mortal.ts';
import type { Test } from './world.ts';

export interface Mortal {
  readonly pid: number;
  readonly client: RunnerClient;
  /** By which signal, or with which code. */
  readonly ended: Promise<number | string | null>;
  readonly stderr: () => string;
  kill(signal: NodeJS.Signals): Promise<number | string | null>;
}

/** Starts one; resolves when it listens, or has died on its way there. */
export async function startMortal(
  t: Test,
  dataDir: string,
  options: Partial<MortalOptions> & Pick<MortalOptions, 'checks'>,
): Promise<Mortal> {
  const { env } = process;
  const given: MortalOptions = { dieAt: null, stopsSteps: false, ...options };
  const child = spawn(
    process.execPath,
    [join(import.meta.dirname, 'mortal.ts'), dataDir, JSON.stringify(given)],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: env['PATH'], HOLDFAST_TEST_SECRET: 'hf_secret-of-the-runner' },
    },
  );
  const ended = new Promise<number | string | null>((resolve) =>
    child.once('close', (code, signal) => resolve(signal ?? code)),
  );
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const ready = new Promise<void>((resolve) => child.stdout.once('data', () => resolve()));
  t.after(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    await ended;
  });
  const client = new RunnerClient({ socket: join(dataDir, 'run/runner.sock') });
  t.after(() => client.close());
  const first = await Promise.race([ready, ended]);
  if (given.dieAt !== 'adopting') assert.equal(first, undefined, `the runner did not start: ${stderr}`);
  return {
    pid: child.pid ?? 0,
    client,
    ended,
    stderr: () => stderr,
    kill(signal) {
      child.kill(signal);
      return ended;
    },
  };
}
