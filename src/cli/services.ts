/** `holdfast services`: liveness. */
import { type Command, Option } from 'commander';
import { formatDuration } from '../base/time.ts';
import type { HoldfastClient } from '../client/client.ts';
import { livenessRequests } from '../client/liveness.ts';
import type { Answer } from '../client/request.ts';
import { AppError, isAppError } from '../domain/error.ts';
import {
  type IsUpQuery,
  type ServiceDocument,
  type ServicePatch,
  statuses,
  ttlMinMs,
} from '../domain/liveness.ts';
import type { ServiceFilter } from '../domain/services.ts';
import type { Flags } from './config.ts';
import {
  action,
  type Context,
  clientOptions,
  collect,
  examples,
  outputOption,
  pageOptions,
} from './context.ts';
import { type ExitCode, exitCodeOf, exitCodes, UsageError } from './exit.ts';
import { type Column, writeRecord, writeTable } from './output.ts';
import { follow, watchOptions } from './watch.ts';
import { ago, requireDuration, requireInstant, requireStatuses, statusWords } from './words.ts';

export function define(command: Command, context: Context): void {
  command.description('What is alive: service records. Each is one uuid, and one (type, host) pair.');
  defineLs(command, context);
  defineGet(command, context);
  defineSet(command, context);
  defineIsUp(command, context);
  defineBeat(command, context);
  defineDelete(command, context);
  defineMaintenance(command, context);
  defineWatch(command, context);
}

function defineLs(command: Command, context: Context): void {
  const ls = filterOptions(command.command('ls').summary('list service records'))
    .description(
      'Lists service records. A repeated filter matches any of its values; different filters must all match.',
    )
    .option('--status <UP|DOWN>', 'only with this status', collect)
    .option('--selector <selector>', 'only on hosts that match, such as "env=prod"')
    .action(
      action(context, async (flags: Flags) => {
        await askServices(context, flags, (client) =>
          context.showList(flags, client, (page) => livenessRequests.list(filterOf(flags), page), {
            empty: 'no services match: "holdfast services set --type T --host H" registers one',
            write: (services, form) =>
              writeTable(context.io, services, columns(context.io.clock.now()), form),
          }),
        );
        return 0;
      }),
    );
  pageOptions(outputOption(clientOptions(ls)));
  examples(ls, [
    'services ls',
    'services ls --status DOWN',
    'services ls --selector env=prod',
    'services ls --region us-east --region us-west -o json',
  ]);
}

function defineGet(command: Command, context: Context): void {
  const get = atOptions(command.command('get').summary('show one record'))
    .description('Shows one service record.')
    .action(
      action(context, async (uuid: string | undefined, flags: Flags) => {
        const at = requireAt(uuid, flags);
        await askServices(context, flags, async (client) => {
          await show(context, flags, livenessRequests.get(await uuidOf(client, at)), client);
        });
        return 0;
      }),
    );
  outputOption(clientOptions(get));
  examples(get, [
    'services get 3b059e33bbc44bc8b0d37df6e8d70223',
    'services get --type nova-compute --host edge-1',
  ]);
}

function defineSet(command: Command, context: Context): void {
  const set = command
    .command('set')
    .summary('register a record, or change one')
    .description(
      'Registers a service, or sets the named fields of the one with this uuid (or type and host). Counts as a heartbeat.',
    )
    .option('--type <type>', 'kind of service')
    .option('--host <host>', 'name of its host (an agent: its own)')
    .option('--uuid <uuid>', 'its uuid; without one, a new one is made for a new type and host')
    .option('--region <region>', 'its region')
    .addOption(new Option('--status <status>', 'DOWN holds until UP is set (default UP)').choices(statuses))
    .option('--ttl <duration>', 'silence after which it is DOWN (default 60s, at least 5s)')
    .option('--takeover', 'with --uuid: replace another one that holds type and host')
    .option('--if-version <n>', 'only if this is still its version, else exit 4')
    .action(
      action(context, async (flags: Flags) => {
        const patch = patchOf(flags);
        const options = { takeover: flags['takeover'] === true };
        await askServices(context, flags, async (client) => {
          const uuid = (flags['uuid'] as string | undefined) ?? (await findUuid(client, patch));
          const answer =
            uuid === undefined
              ? await register(client, patch, options)
              : await client.call(livenessRequests.put(uuid, patch, options));
          await context.show(flags, answer, (service) =>
            writeRecord(context.io, fields(service, context.io.clock.now())),
          );
          context.say(answer.status === 201 ? 'registered' : 'set');
          const { ttl } = answer.document;
          if (patch.ttlMs !== undefined && ttl * 1_000 !== patch.ttlMs)
            context.say(`a ttl is at least ${ttlMinMs / 1_000} seconds: it is ${ttl} now`);
        });
        return 0;
      }),
    );
  outputOption(clientOptions(set));
  examples(set, [
    'services set --type web',
    'services set --type nova-compute --host edge-1 --region us-east --ttl 30s',
    'services set --type nova-compute --host edge-1 --status DOWN',
    'services set --type web --host edge-1 --uuid 3b059e33bbc44bc8b0d37df6e8d70223 --takeover',
  ]);
}

function defineIsUp(command: Command, context: Context): void {
  const isUp = atOptions(command.command('is-up').summary('print UP, DOWN or UNKNOWN'))
    .description(
      'Prints UP, DOWN or UNKNOWN and exits 0, 1 or 3. No other outcome exits 1: what cannot be told exits 6, 7 or 75.',
    )
    .action(
      action(context, async (uuid: string | undefined, flags: Flags): Promise<ExitCode> => {
        const at = requireAt(uuid, flags);
        try {
          return await askServices(context, flags, async (client) => {
            const answer = await client.call(livenessRequests.isUp(at));
            const { up, known, confirmed, stale } = answer.document;
            await context.show(flags, answer, () =>
              context.io.stdout.write(`${known ? (up ? 'UP' : 'DOWN') : 'UNKNOWN'}\n`),
            );
            if (stale)
              context.say(`the registry cannot be reached: this is what it said at ${answer.document.asOf}`);
            else if (known && !confirmed) context.say('not confirmed since the registry started');
            return known ? (up ? exitCodes.ok : exitCodes.failed) : exitCodes.notFound;
          });
        } catch (error) {
          // Exit 1 means DOWN here, and nobody knows that now.
          if (exitCodeOf(error) !== exitCodes.failed) throw error;
          throw new AppError('unavailable', error instanceof Error ? error.message : String(error), {
            cause: error,
          });
        }
      }),
    );
  outputOption(clientOptions(isUp));
  examples(isUp, [
    'services is-up 3b059e33bbc44bc8b0d37df6e8d70223',
    'services is-up --type nova-compute --host edge-1 && echo fine',
  ]);
}

function defineBeat(command: Command, context: Context): void {
  const beat = command
    .command('beat')
    .argument('<uuids...>', 'who is alive')
    .summary('say that services are alive')
    .description(
      'Sends a heartbeat: renews the ttl, and lifts a lapse. Exits 3 when one is unknown, 4 when another has its place.',
    )
    .action(
      action(context, async (uuids: string[], flags: Flags): Promise<ExitCode> => {
        const [only] = uuids;
        return askServices(context, flags, async (client) => {
          if (uuids.length === 1 && only !== undefined) {
            await show(context, flags, livenessRequests.beat(only), client);
            return 0;
          }
          const answer = await client.call(livenessRequests.beatMany(uuids));
          const { items } = answer.document;
          await context.show(flags, answer, (_document, form) =>
            writeTable(
              context.io,
              items,
              [
                { title: 'UUID', of: ({ uuid }) => uuid, whole: true },
                { title: 'STATUS', of: ({ status }) => status ?? null, status: true },
                { title: 'REFUSED', of: ({ code }) => code },
              ],
              form,
            ),
          );
          if (items.some(({ code }) => code === 'not-found')) return exitCodes.notFound;
          return items.some(({ code }) => code !== null) ? exitCodes.conflict : exitCodes.ok;
        });
      }),
    );
  outputOption(clientOptions(beat));
  examples(beat, ['services beat 3b059e33bbc44bc8b0d37df6e8d70223']);
}

function defineDelete(command: Command, context: Context): void {
  const remove = atOptions(command.command('delete').summary('forget a record'))
    .description('Deletes one service record.')
    .action(
      action(context, async (uuid: string | undefined, flags: Flags) => {
        const at = requireAt(uuid, flags);
        await askServices(context, flags, async (client) => {
          await client.call(livenessRequests.delete(at));
          context.say('deleted');
        });
        return 0;
      }),
    );
  clientOptions(remove);
  examples(remove, [
    'services delete 3b059e33bbc44bc8b0d37df6e8d70223',
    'services delete --type nova-compute --host edge-1',
  ]);
}

function defineMaintenance(command: Command, context: Context): void {
  const maintenance = atOptions(command.command('maintenance').summary('plan work on a service, or end it'))
    .description(
      'Plans maintenance, from now unless --start says otherwise, and until --off unless --end or --for does. The status stays as it is, unless --down.',
    )
    .option('--start <time>', 'when it begins, such as 2026-01-31T09:30:00Z')
    .addOption(new Option('--end <time>', 'when it ends').conflicts('for'))
    .option('--for <duration>', 'how long it takes, such as 2h')
    .option('--note <text>', 'why')
    .option('--down', 'also set the status DOWN')
    .addOption(new Option('--off', 'end it now').conflicts(['start', 'end', 'for', 'note', 'down']))
    .action(
      action(context, async (uuid: string | undefined, flags: Flags) => {
        const at = requireAt(uuid, flags);
        const plan = planOf(flags, context.io.clock.now());
        await askServices(context, flags, async (client) => {
          const found = await uuidOf(client, at);
          await show(
            context,
            flags,
            flags['off'] === true
              ? livenessRequests.endMaintenance(found)
              : livenessRequests.maintain(found, plan),
            client,
          );
        });
        return 0;
      }),
    );
  outputOption(clientOptions(maintenance));
  examples(maintenance, [
    'services maintenance --type nova-compute --host edge-1 --for 2h --note "Failed disk /dev/sda"',
    'services maintenance 3b059e33bbc44bc8b0d37df6e8d70223 --off',
  ]);
}

function defineWatch(command: Command, context: Context): void {
  const watch = filterOptions(
    watchOptions(command.command('watch').summary('changes of services as they happen')),
  )
    .description(
      'Tells each change of the selected services: registered, set, lapsed, revived, maintained, taken over, deleted.',
    )
    .action(
      action(context, async (flags: Flags) => {
        const { status: _status, ...services } = filterOf(flags);
        return follow(context, flags, {
          types: ['service.*'],
          ...(Object.keys(services).length === 0 ? {} : { services }),
        });
      }),
    );
  examples(watch, ['services watch', 'services watch --type nova-compute --host edge-1 --count 4']);
}

function filterOptions(command: Command): Command {
  return command
    .option('--uuid <uuid>', 'only this one', collect)
    .option('--type <type>', 'only this kind', collect)
    .option('--host <host>', 'only on this host', collect)
    .option('--region <region>', 'only in this region', collect);
}

function atOptions(command: Command): Command {
  return command
    .argument('[uuid]', 'its uuid; or --type and --host')
    .option('--type <type>', 'kind of service')
    .option('--host <host>', 'name of its host');
}

function filterOf(flags: Flags): ServiceFilter {
  const { uuid, type, host, region, status } = flags as Record<string, string[] | undefined>;
  return {
    ...(uuid === undefined ? {} : { uuid }),
    ...(type === undefined ? {} : { type }),
    ...(host === undefined ? {} : { host }),
    ...(region === undefined ? {} : { region }),
    ...(typeof flags['selector'] === 'string' ? { selector: flags['selector'] } : {}),
    ...(status === undefined ? {} : { status: requireStatuses(status) }),
  };
}

function requireAt(uuid: string | undefined, flags: Flags): IsUpQuery {
  const { type, host } = flags as { type?: string; host?: string };
  if (uuid !== undefined && type === undefined && host === undefined) return { uuid };
  if (uuid === undefined && type !== undefined && host !== undefined) return { type, host };
  throw new UsageError('Cannot tell which service: pass its UUID, or --type and --host');
}

/** `not-found` when no record has this type and host. */
async function uuidOf(client: HoldfastClient, at: IsUpQuery): Promise<string> {
  if ('uuid' in at) return at.uuid;
  const uuid = await findUuid(client, at);
  if (uuid !== undefined) return uuid;
  throw new AppError(
    'not-found',
    `Cannot find a service of type "${at.type}" on "${at.host}": "holdfast services ls" shows those that there are`,
  );
}

/**
 * Registers a service; without a host, on that of the agent that is asked, and when there is a record of this type, that
 * one is set. The agent itself is not asked what it is called: who reports services may not see its status.
 */
async function register(
  client: HoldfastClient,
  patch: ServicePatch,
  options: { readonly takeover: boolean },
): Promise<Answer<ServiceDocument>> {
  if (patch.host !== undefined) return client.call(livenessRequests.register(patch, options));
  const keep = { takeover: false };
  try {
    return await client.call(livenessRequests.register(patch, keep));
  } catch (error) {
    const holder = isAppError(error, 'conflict') ? error.details['holder'] : undefined;
    if (typeof holder === 'string') return client.call(livenessRequests.put(holder, patch, keep));
    if (!isAppError(error, 'bad-request') || error.field !== 'host') throw error;
    throw new UsageError('Cannot tell which host: a registry has none of its own, pass --host', {
      cause: error,
    });
  }
}

/** Of the agent on this machine also as somebody who reports services. */
function askServices<T>(
  context: Context,
  flags: Flags,
  fn: (client: HoldfastClient) => Promise<T>,
): Promise<T> {
  return context.ask(flags, 'agent', fn, 'services');
}

async function findUuid(
  client: HoldfastClient,
  at: { readonly type?: string; readonly host?: string },
): Promise<string | undefined> {
  if (at.type === undefined || at.host === undefined) return undefined;
  const { document } = await client.call(
    livenessRequests.list({ type: [at.type], host: [at.host] }, { limit: 1 }),
  );
  return document.items[0]?.uuid;
}

function patchOf(flags: Flags): ServicePatch {
  const { type, host, uuid, region, status, ttl, ifVersion, takeover } = flags as Record<
    string,
    string | undefined
  >;
  if (uuid === undefined && type === undefined)
    throw new UsageError('Cannot tell which service: pass --type and --host, or --uuid');
  // It would replace a record by a new one each time, even its own; without it the record that holds the place is set.
  if (uuid === undefined && takeover !== undefined)
    throw new UsageError(
      'Cannot take over: pass --uuid, who shall hold type and host; without --takeover the one that holds them is changed',
    );
  if (ifVersion !== undefined && !/^\d{1,15}$/.test(ifVersion))
    throw new UsageError(`Cannot compare with version "${ifVersion}": expected a number`);
  return {
    ...(type === undefined ? {} : { type }),
    ...(host === undefined ? {} : { host }),
    ...(region === undefined ? {} : { region }),
    ...(status === undefined ? {} : { status: status as 'UP' | 'DOWN' }),
    ...(ttl === undefined ? {} : { ttlMs: requireDuration(ttl, '--ttl') }),
    ...(ifVersion === undefined ? {} : { version: Number(ifVersion) }),
  };
}

function planOf(
  flags: Flags,
  now: number,
): { startMs?: number; endMs?: number; note?: string; down?: boolean } {
  const { start, end, note } = flags as Record<string, string | undefined>;
  const forText = flags['for'] as string | undefined;
  const startMs = start === undefined ? undefined : requireInstant(start, '--start');
  const endMs =
    end !== undefined
      ? requireInstant(end, '--end')
      : forText === undefined
        ? undefined
        : (startMs ?? now) + requireDuration(forText, '--for');
  return {
    ...(startMs === undefined ? {} : { startMs }),
    ...(endMs === undefined ? {} : { endMs }),
    ...(note === undefined ? {} : { note }),
    ...(flags['down'] === true ? { down: true } : {}),
  };
}

async function show(
  context: Context,
  flags: Flags,
  request: ReturnType<
    | typeof livenessRequests.get
    | typeof livenessRequests.beat
    | typeof livenessRequests.maintain
    | typeof livenessRequests.endMaintenance
  >,
  client: HoldfastClient,
): Promise<void> {
  await context.show(flags, await client.call(request), (service) =>
    writeRecord(context.io, fields(service, context.io.clock.now())),
  );
}

function columns(now: number): Column<ServiceDocument>[] {
  return [
    { title: 'TYPE', of: (service) => service.type },
    { title: 'HOST', of: (service) => service.host },
    { title: 'STATUS', of: statusWords, status: true },
    { title: 'REGION', of: (service) => service.region, spare: true },
    { title: 'SEEN', of: (service) => ago(service.lastSeen, now) },
    { title: 'TTL', of: (service) => formatDuration(service.ttl * 1_000), wide: true, spare: true },
    { title: 'MAINTENANCE', of: maintenanceWords, wide: true, spare: true },
    { title: 'CONFIRMED', of: (service) => (service.confirmed ? 'yes' : 'no'), wide: true, spare: true },
    { title: 'COUNTED BY', of: (service) => service.heldBy, wide: true, spare: true },
    { title: 'UUID', of: (service) => service.uuid, whole: true },
  ];
}

function fields(service: ServiceDocument, now: number): (readonly [string, string | null])[] {
  return [
    ['type', service.type],
    ['host', service.host],
    ['status', statusWords(service)],
    ['region', service.region],
    ['ttl', formatDuration(service.ttl * 1_000)],
    ['maintenance', maintenanceWords(service)],
    ['confirmed', service.confirmed ? 'yes' : 'no: nothing heard since the registry started'],
    ['counted by', service.heldBy],
    ['last seen', ago(service.lastSeen, now)],
    ['version', String(service.version)],
    ['uuid', service.uuid],
  ];
}

function maintenanceWords({ maintenance }: ServiceDocument): string | null {
  if (maintenance === null) return null;
  const { start, end, note, active } = maintenance;
  return `${active ? 'now' : `from ${start}`}${end === null ? '' : ` until ${end}`}${note === null ? '' : `: ${note}`}`;
}
