/** Placements of the exec driver, as a target carries them: which commands the runner may take out of one. */
import { parseDuration } from '../base/time.ts';
import type { Allow } from './allow.ts';
import { AppError } from './error.ts';
import { type Deed, requireUser, type Step, stepTitle } from './step.ts';
import type { TargetDocument } from './target.ts';

/** Without a word in the placement. */
const timeoutDefaultMs = 900_000;
const timeoutMaxMs = 86_400_000;
const wordsMax = 256;
const commandLengthMax = 65_536;

/**
 * What a step of a believed target comes to. `not-found` when the target does not name it, `unprocessable` for a
 * placement that is none of the exec driver's or not as it must be, `forbidden` (reason `not-allowed`) for what the host
 * does not allow. The target may be signed and still be wrong, so each member of it is looked at.
 */
export function decidePlacement(
  step: Extract<Step, { kind: 'placement' }>,
  target: Pick<TargetDocument, 'placements'>,
  allow: Allow,
): Deed {
  const title = stepTitle(step);
  const named = target.placements.filter(
    (one) => isObject(one) && one['service'] === step.service,
  ) as Members[];
  const [placement] = named;
  if (placement === undefined)
    throw new AppError('not-found', `Cannot run ${title}: the target does not name this service`);
  const unusable = (why: string) => new AppError('unprocessable', `Cannot run ${title}: ${why}`);
  if (named.length > 1) throw unusable('the target names this service twice');
  if (placement['driver'] !== 'exec') throw unusable('only placements of the exec driver have commands');
  if (!allow.drivers.includes('exec'))
    throw notAllowed(
      title,
      'this host does not allow the driver exec; local root adds it to allow.drivers of agent.yaml',
    );
  const { exec, user, timeout } = placement;
  if (!isObject(exec)) throw unusable('the placement does not say what to execute');
  const command = exec[step.command];
  if (command === undefined || command === null)
    throw new AppError('not-found', `Cannot run ${title}: the placement has no such command`);
  if (!isCommand(command)) throw unusable(`its command is no list of 1 to ${wordsMax} words`);
  return {
    kind: 'command',
    command,
    user: readUser(user, allow, title),
    timeoutMs: readTimeout(timeout, unusable),
  };
}

function readUser(user: unknown, allow: Allow, title: string): string | null {
  if (user === undefined || user === null) return null;
  if (typeof user !== 'string')
    throw new AppError('unprocessable', `Cannot run ${title}: its user is no name`);
  requireUser(user, title);
  if (allow.users.includes(user)) return user;
  throw notAllowed(
    title,
    `this host does not allow user "${user}"; local root adds it to allow.users of agent.yaml`,
  );
}

function readTimeout(timeout: unknown, unusable: (why: string) => AppError): number {
  if (timeout === undefined || timeout === null) return timeoutDefaultMs;
  const ms = typeof timeout === 'string' || typeof timeout === 'number' ? parseDuration(timeout) : undefined;
  if (ms !== undefined && ms > 0 && ms <= timeoutMaxMs) return ms;
  throw unusable('its timeout is no time up to a day, such as 10m');
}

function notAllowed(title: string, why: string): AppError {
  return new AppError('forbidden', `Cannot run ${title}: ${why}`, { details: { reason: 'not-allowed' } });
}

function isCommand(value: unknown): value is readonly string[] {
  return (
    Array.isArray(value) &&
    value.length >= 1 &&
    value.length <= wordsMax &&
    value.every((word) => typeof word === 'string' && !word.includes('\0')) &&
    value[0] !== '' &&
    value.join('').length <= commandLengthMax
  );
}

type Members = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
