/** Runs roles until a signal or a failure: starts them in order, says when each is ready, stops them in reverse. */

import type { Command } from 'commander';
import type { LogLevel } from '../base/log.ts';
import { debugOption } from './context.ts';
import { ConfigurationError, type ExitCode, exitCodes } from './exit.ts';
import type { Io } from './io.ts';
import type { Place } from './locations.ts';
import type { RoleContext, RunningRole } from './roles.ts';
import { type RoleCommand, settings, settingsOf } from './settings.ts';
import { superviseStart } from './supervision.ts';

/** systemd's own patience is 90 s; whoever presses Ctrl-C has less. */
export const drainMaxMs = 15_000;

/** Starts one role and announces it. */
export type Begin = <Running extends RunningRole>(
  role: Place,
  start: (context: RoleContext) => Promise<Running>,
) => Promise<Running>;

/**
 * 0 after a clean stop, 1 when draining took longer than `drainMaxMs`. Throws what a role failed of, at the start or
 * later, after the others have been stopped.
 */
export async function serve(
  io: Io,
  logLevel: LogLevel,
  start: (begin: Begin) => Promise<void>,
): Promise<ExitCode> {
  const logger = await io.logger(logLevel);
  const supervision = superviseStart(io, await io.notifier(logger), logger);
  const running: { role: Place; running: RunningRole }[] = [];
  let failure: { error: unknown } | undefined;
  try {
    await start(async (role, startRole) => {
      const context = {
        clock: io.clock,
        random: io.random,
        logger: logger.child({ role }),
        signal: io.signal,
      };
      const started = await startRole(context);
      running.push({ role, running: started });
      io.stdout.write(`${JSON.stringify({ ready: role, url: started.url, dataDir: started.dataDir })}\n`);
      return started;
    });
    await supervision.ready(running.map((one) => one.running));
    await Promise.race([aborted(io.signal), ...running.map((one) => one.running.failed)]);
  } catch (error) {
    if (!io.signal.aborted) failure = { error };
  }
  // A start that failed is told once, in words, by whoever called.
  if (failure !== undefined && running.length === 0) {
    await supervision.stopping();
    throw failure.error;
  }
  // Whoever called tells this one in words too: a stack says nothing of a mistake in a file.
  if (failure === undefined || failure.error instanceof ConfigurationError) logger.info({}, 'stopping');
  else logger.error({ err: failure.error }, 'failed, stopping');
  const stopped = await withinDrainTime(io, async () => {
    await supervision.stopping();
    for (const { running: role } of running.reverse()) await role.close();
  });
  if (failure !== undefined) throw failure.error;
  if (stopped) return exitCodes.ok;
  logger.error({ durationMs: drainMaxMs }, 'could not drain in time');
  return exitCodes.failed;
}

/** The role's own flags, from the table of settings. */
export function roleOptions(command: Command, role: RoleCommand): Command {
  for (const name of settingsOf[role]) {
    const { flag, help, env } = settings[name];
    if (flag === null) continue;
    if (name === 'logLevel') command.addOption(debugOption().default(undefined, 'info'));
    else command.option(flag, env === null ? help : `${help} (${env})`);
  }
  return command.option('--config <file>', `${configHelp[role]} (HOLDFAST_CONFIG)`);
}

const configHelp: Readonly<Record<RoleCommand, string>> = {
  up: 'YAML file with these settings',
  registry: 'YAML file with these settings',
  agent: 'YAML file with these settings',
  runner: 'agent.yaml, of which it reads checks, detectors and allow',
};

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

async function withinDrainTime(io: Io, stop: () => Promise<void>): Promise<boolean> {
  const late = new AbortController();
  try {
    const timeUp = io.clock.sleep(drainMaxMs, { signal: late.signal }).then(() => false);
    return await Promise.race([stop().then(() => true), timeUp]);
  } finally {
    late.abort(new Error('drained'));
  }
}
