/** `holdfast registry import` */
import { Argument, type Command } from 'commander';
import { wallClockOf } from '../base/time-zone.ts';
import type { HoldfastClient } from '../client/client.ts';
import { importRequests } from '../client/import.ts';
import { isAppError } from '../domain/error.ts';
import { type ImportKind, type ImportOutcome, type ImportResults, importKinds } from '../domain/import.ts';
import type { Flags } from './config.ts';
import { action, type Context, clientOptions, examples, outputOption } from './context.ts';
import { ConfigurationError, UsageError } from './exit.ts';
import type { Read, Unit } from './import-rows.ts';
import { type Form, writeTable } from './output.ts';

const programs = ['workflow-manager'] as const;
const variable = 'HOLDFAST_IMPORT_URL';
/** What goes in one request: the registry's other writes wait for it. */
const batchItemsMax = 500;
const batchBytesMax = 512 * 1_024;
/** Of bad rows, and of those that are kept. */
const toldMax = 100;
const progressMs = 2_000;

const tableOf: Readonly<Record<ImportKind, string>> = {
  clusters: 'clusters',
  checkIns: 'clusters_checkins',
  releases: 'versions',
  doctorReports: 'doctors',
};

export function defineImport(registry: Command, context: Context): void {
  const command = registry
    .command('import')
    .addArgument(new Argument('<from>', 'the program whose data it is').choices(programs))
    .summary('take over what a workflow-manager-api knew')
    .description(
      'Takes clusters with the times of all their check-ins, released versions and doctor reports of a ' +
        `workflow-manager-api into a running registry. ${variable} (a variable only, it holds a password) says where ` +
        'its database is: postgres://user:password@host/database. That is only read, as it is at one moment. ' +
        'It may be stopped and run again, as often as you like: what is there already is not taken twice, and ' +
        'stays as it is. Rows that cannot be taken are told and left out.',
    )
    .option('--dry-run', 'reads and checks everything, and writes nothing; needs no registry')
    .option(
      '--time-zone <Area/City>',
      'of the clock that its times, which name no zone, were read from',
      'UTC',
    )
    .action(
      action(context, async (_from: string, flags: Flags) => {
        const url = context.io.env[variable];
        if (url === undefined || url === '')
          throw new ConfigurationError(
            `Cannot import: the variable ${variable} is not set, expected postgres://user:password@host/database`,
          );
        const zone = String(flags['timeZone']);
        const wallClock = wallClockOf(zone);
        if (wallClock === undefined)
          throw new UsageError(
            `Cannot read times of ${JSON.stringify(zone)}: --time-zone wants one such as Europe/Berlin`,
          );
        const run = async (client: HoldfastClient | null): Promise<Tally> => {
          const { withSource } = await import('./import-source.ts');
          const { readSource } = await import('./import-rows.ts');
          const { io } = context;
          // Nothing is taken: it says whether anybody is there who takes something, before much is read.
          await client?.call(importRequests.workflowManager(empty));
          const tally = new Tally(context);
          await withSource(url, io.signal, async (source) => {
            context.say(`reading ${source.label}`);
            const read = readSource(source, { wallClock, now: io.clock.now() });
            await (client === null ? check(read, tally) : new Mover(client, tally).move(read));
          });
          return tally;
        };
        const tally =
          flags['dryRun'] === true
            ? await run(null)
            : await context.ask(flags, 'registry', (client) => run(client));
        await tally.show(flags, { dryRun: flags['dryRun'] === true });
        return tally.skipped > 0 ? 1 : 0;
      }),
    );
  outputOption(clientOptions(command));
  examples(command, [
    'registry import workflow-manager --dry-run',
    'registry import workflow-manager',
    'registry import workflow-manager --time-zone America/Los_Angeles',
  ]);
}

const empty = { clusters: [], checkIns: [], releases: [], doctorReports: [] };

async function check(read: AsyncIterable<Read>, tally: Tally): Promise<void> {
  for await (const one of read) {
    tally.read(one);
    if (one.kind === 'unit') tally.good(one.unit);
  }
}

/** Hands what is read to the registry, batch by batch. */
class Mover {
  readonly #client: HoldfastClient;
  readonly #tally: Tally;

  constructor(client: HoldfastClient, tally: Tally) {
    this.#client = client;
    this.#tally = tally;
  }

  async move(read: AsyncIterable<Read>): Promise<void> {
    const { sizeOf } = await import('./import-rows.ts');
    let units: Unit[] = [];
    let [items, bytes] = [0, 0];
    for await (const one of read) {
      this.#tally.read(one);
      if (one.kind === 'bad') continue;
      const size = sizeOf(one.unit);
      if (units.length > 0 && (items + size > batchItemsMax || bytes + one.bytes > batchBytesMax)) {
        await this.#hand(units);
        units = [];
        [items, bytes] = [0, 0];
      }
      units.push(one.unit);
      items += size;
      bytes += one.bytes;
    }
    if (units.length > 0) await this.#hand(units);
  }

  /** A batch that is refused as a whole has something in it that the registry cannot even read: it is searched for. */
  async #hand(units: readonly Unit[]): Promise<void> {
    const { batchOf, joined } = await import('./import-rows.ts');
    const unit = joined(units);
    try {
      const { document } = await this.#client.call(importRequests.workflowManager(batchOf(unit)));
      this.#tally.taken(unit, document);
    } catch (error) {
      if (!isAppError(error, 'bad-request') && !isAppError(error, 'too-large')) throw error;
      if (units.length === 1) return this.#tally.refused(unit, error.message);
      const half = Math.ceil(units.length / 2);
      await this.#hand(units.slice(0, half));
      await this.#hand(units.slice(half));
    }
  }
}

type Count = 'good' | 'skipped' | Exclude<ImportOutcome, 'refused'>;
type Counts = Record<Count, number>;

/** What became of the rows. */
class Tally {
  readonly #context: Context;
  readonly #counts: Readonly<Record<ImportKind, Counts>>;
  #told = 0;
  #untold = 0;
  #rows = 0;
  #saidMs: number;

  constructor(context: Context) {
    this.#context = context;
    this.#saidMs = context.io.clock.now();
    const none = (): Counts => ({ good: 0, skipped: 0, added: 0, changed: 0, unchanged: 0, kept: 0 });
    this.#counts = { clusters: none(), checkIns: none(), releases: none(), doctorReports: none() };
  }

  get skipped(): number {
    return importKinds.reduce((sum, kind) => sum + this.#counts[kind].skipped, 0);
  }

  /** Tells of a bad row, and now and then how far it is. */
  read(read: Read): void {
    if (read.kind === 'bad') {
      this.#counts[read.of].skipped += read.rows;
      this.#tell(`left out ${read.row}${read.rows > 1 ? ` (${read.rows} rows)` : ''}: ${read.problem}`);
      this.#rows += read.rows;
    } else {
      for (const kind of importKinds) for (const { rows } of read.unit[kind]) this.#rows += rows;
    }
    const now = this.#context.io.clock.now();
    if (now - this.#saidMs < progressMs) return;
    this.#saidMs = now;
    this.#context.say(`… ${this.#rows} rows read`);
  }

  good(unit: Unit): void {
    for (const kind of importKinds) for (const { rows } of unit[kind]) this.#counts[kind].good += rows;
  }

  taken(unit: Unit, results: ImportResults): void {
    for (const kind of importKinds) {
      for (const [index, { row, rows }] of unit[kind].entries()) {
        const { outcome, problem } = results[kind][index] ?? { outcome: 'refused', problem: 'no answer' };
        if (outcome === 'refused') {
          this.#counts[kind].skipped += rows;
          this.#tell(`left out ${row}: ${problem}`);
          continue;
        }
        if (outcome === 'kept') this.#tell(`kept what is there for ${row}: ${problem}`);
        this.#counts[kind].good += rows;
        this.#counts[kind][outcome] += rows;
      }
    }
  }

  refused(unit: Unit, problem: string): void {
    for (const kind of importKinds) {
      for (const { row, rows } of unit[kind]) {
        this.#counts[kind].skipped += rows;
        this.#tell(`left out ${row}: ${problem}`);
      }
    }
  }

  /** What was done, table by table. */
  async show(flags: Flags, { dryRun }: { readonly dryRun: boolean }): Promise<void> {
    if (this.#untold > 0) this.#context.say(`and ${this.#untold} more`);
    const tables = importKinds.map((kind) => {
      const { good, skipped, added, changed, unchanged, kept } = this.#counts[kind];
      const done = dryRun ? {} : { added, changed, unchanged, kept };
      return { table: tableOf[kind], read: good + skipped, good, skipped, ...done };
    });
    const document = { dryRun, tables };
    const answer = { status: 200, text: JSON.stringify(document), document, headers: {} };
    await this.#context.show(flags, answer, (_, form: Form) => {
      type Row = (typeof tables)[number];
      const column = (title: string, of: (row: Row) => number | undefined) => ({
        title,
        of: (row: Row) => String(of(row) ?? 0),
      });
      writeTable(
        this.#context.io,
        tables,
        [
          { title: 'TABLE', of: (row) => row.table, whole: true },
          column('READ', (row) => row.read),
          ...(dryRun
            ? [column('GOOD', (row) => row.good)]
            : [
                column('ADDED', (row) => row.added),
                column('CHANGED', (row) => row.changed),
                column('UNCHANGED', (row) => row.unchanged),
                column('KEPT', (row) => row.kept),
              ]),
          column('LEFT OUT', (row) => row.skipped),
        ],
        form,
      );
    });
    if (dryRun) this.#context.say('nothing was written: this was a dry run');
  }

  #tell(text: string): void {
    this.#told += 1;
    if (this.#told <= toldMax) this.#context.say(text.replace(/\p{C}/gu, '\ufffd'));
    else this.#untold += 1;
  }
}
