/**
 * Rows of a workflow-manager-api as what the registry takes. Each row is looked at as the registry will: what it would
 * refuse is told here, also when nothing is written.
 */
import type { WallClock } from '../base/time-zone.ts';
import { type ClusterDraft, clusterKey, requireClusterId } from '../domain/cluster.ts';
import { AppError, isAppError } from '../domain/error.ts';
import {
  decideImportedRelease,
  decideImportedReport,
  type ImportBatch,
  type ImportItems,
  type ImportKind,
  importKinds,
  importSender,
  requireCheckIn,
} from '../domain/import.ts';
import { importDocument, readImport } from '../wire/import.ts';
import { parseJson } from '../wire/json.ts';
import { readCluster, readReport } from '../wire/legacy.ts';
import type {
  Source,
  SourceCheckIns,
  SourceCluster,
  SourceDocument,
  SourceRelease,
  SourceReport,
} from './import-source.ts';

/** An item and the row that it is of. */
export interface Given<Kind extends ImportKind> {
  readonly item: ImportItems[Kind];
  /** As people find it: `versions 17`. */
  readonly row: string;
  /** How many rows it is; 0 for what was counted before. */
  readonly rows: number;
}

/** What goes to the registry together. */
export type Unit = { readonly [Kind in ImportKind]: readonly Given<Kind>[] };

export type Read =
  | { readonly kind: 'unit'; readonly unit: Unit; readonly bytes: number }
  | {
      readonly kind: 'bad';
      readonly of: ImportKind;
      readonly row: string;
      readonly rows: number;
      readonly problem: string;
    };

export interface ReadOptions {
  readonly wallClock: WallClock;
  readonly now: number;
}

/** Check-ins of one cluster that go together; two a day for half a year. */
const checkInsMax = 400;

const nothing: Unit = { clusters: [], checkIns: [], releases: [], doctorReports: [] };

/** All that is there, in the order in which it is taken over. */
export async function* readSource(source: Source, options: ReadOptions): AsyncGenerator<Read> {
  yield* readClusters(source, options);
  for await (const row of source.releases()) yield readRelease(row, options);
  for await (const row of source.reports()) yield readDoctorReport(row, options);
}

export function batchOf(unit: Unit): ImportBatch {
  return {
    clusters: unit.clusters.map(({ item }) => item),
    checkIns: unit.checkIns.map(({ item }) => item),
    releases: unit.releases.map(({ item }) => item),
    doctorReports: unit.doctorReports.map(({ item }) => item),
  };
}

/** Both lists are in the same order, so each is read once. */
async function* readClusters(source: Source, options: ReadOptions): AsyncGenerator<Read> {
  const checkIns = source.checkIns()[Symbol.asyncIterator]();
  let next = await checkIns.next();
  for await (const row of source.clusters()) {
    while (!next.done && next.value.cluster !== null && next.value.cluster < row.id) {
      yield withoutCluster(next.value);
      next = await checkIns.next();
    }
    const draft = readDraft(row);
    let chunk: Given<'checkIns'>[] = [];
    let isFirst = true;
    const unitOf = (cluster: ClusterDraft): Read => {
      const given = { item: cluster, row: `clusters ${row.id}`, rows: isFirst ? 1 : 0 };
      isFirst = false;
      const unit = { ...nothing, clusters: [given], checkIns: chunk };
      chunk = [];
      return { kind: 'unit', unit, bytes: (row.bytes ?? 0) + unit.checkIns.length * 100 };
    };
    let leftOut = 0;
    while (!next.done && next.value.cluster === row.id) {
      const read = readCheckIn(next.value, options);
      if ('problem' in draft) leftOut += next.value.count;
      else if (read.kind === 'bad') yield read;
      else chunk.push(read.given);
      next = await checkIns.next();
      if (chunk.length >= checkInsMax && !('problem' in draft)) yield unitOf(draft);
    }
    if ('problem' in draft) {
      yield { kind: 'bad', of: 'clusters', row: `clusters ${row.id}`, rows: 1, problem: draft.problem };
      if (leftOut > 0)
        yield {
          kind: 'bad',
          of: 'checkIns',
          row: `clusters_checkins of ${row.id}`,
          rows: leftOut,
          problem: 'their cluster is left out',
        };
    } else if (chunk.length > 0) yield unitOf(draft);
    else if (isFirst)
      yield {
        kind: 'bad',
        of: 'clusters',
        row: `clusters ${row.id}`,
        rows: 1,
        problem: 'it has no good check-in, so nobody knows when it was there',
      };
  }
  while (!next.done) {
    yield withoutCluster(next.value);
    next = await checkIns.next();
  }
}

function readDraft(row: SourceCluster): ClusterDraft | { readonly problem: string } {
  try {
    const body = readDocument(row);
    const said = memberOf(body, 'id');
    // As it was sent, when that is another spelling of the same.
    const id = typeof said === 'string' && clusterKey(said) === clusterKey(row.id) ? said : row.id;
    const draft = readCluster(
      typeof body === 'object' && body !== null && !Array.isArray(body) ? { ...body, id } : body,
    );
    requireClusterId(draft.id);
    requireSendable('clusters', draft);
    return draft;
  } catch (error) {
    return { problem: problemOf(error) };
  }
}

function readCheckIn(
  { row, cluster, at, count }: SourceCheckIns,
  { wallClock, now }: ReadOptions,
): Extract<Read, { kind: 'bad' }> | { readonly kind: 'good'; readonly given: Given<'checkIns'> } {
  const name = `clusters_checkins ${row}`;
  try {
    const item = { cluster: cluster ?? '', atMs: readTime(at, 'created_at', wallClock), count };
    requireCheckIn(item, now);
    return { kind: 'good', given: { item, row: name, rows: count } };
  } catch (error) {
    return { kind: 'bad', of: 'checkIns', row: name, rows: count, problem: problemOf(error) };
  }
}

function withoutCluster({ row, cluster, count }: SourceCheckIns): Read {
  const problem = cluster === null ? 'it is of no cluster' : `there is no cluster ${cluster}`;
  return { kind: 'bad', of: 'checkIns', row: `clusters_checkins ${row}`, rows: count, problem };
}

function readRelease(row: SourceRelease, { wallClock, now }: ReadOptions): Read {
  const name = `versions ${row.row}`;
  try {
    const { description, fixes, image, ...more } = requireObject(readDocument(row, '{}'));
    const item: ImportItems['releases'] = {
      component: row.component ?? '',
      train: row.train ?? '',
      version: row.version ?? '',
      content: {
        releasedMs: readTime(row.released, 'release_timestamp', wallClock),
        description: textOf(description, 'description'),
        fixes: textOf(fixes, 'fixes'),
        image: textOf(image, 'image'),
        data: Object.keys(more).length === 0 ? null : more,
      },
    };
    decideImportedRelease(null, item, { subject: importSender, now });
    requireSendable('releases', item);
    const unit = { ...nothing, releases: [{ item, row: name, rows: 1 }] };
    return { kind: 'unit', unit, bytes: row.bytes ?? 0 };
  } catch (error) {
    return { kind: 'bad', of: 'releases', row: name, rows: 1, problem: problemOf(error) };
  }
}

function readDoctorReport(row: SourceReport, { now }: ReadOptions): Read {
  const name = `doctors ${row.id}`;
  try {
    const { document, cluster } = readReport(readDocument(row));
    const item: ImportItems['doctorReports'] = {
      id: row.id,
      wire: 'v3',
      host: cluster,
      comment: null,
      body: document,
    };
    decideImportedReport(null, item, now);
    requireSendable('doctorReports', item);
    const unit = { ...nothing, doctorReports: [{ item, row: name, rows: 1 }] };
    return { kind: 'unit', unit, bytes: row.bytes ?? 0 };
  } catch (error) {
    return { kind: 'bad', of: 'doctorReports', row: name, rows: 1, problem: problemOf(error) };
  }
}

/** `absent` where there is none. */
function readDocument({ data, bytes }: SourceDocument, absent?: string): unknown {
  const text = bytes === null ? absent : data;
  if (text === undefined) throw new AppError('bad-request', 'it holds no JSON');
  if (text === null)
    throw new AppError('bad-request', `its JSON takes ${bytes} bytes, more than can be taken`);
  return parseJson(text);
}

/** Throws what the registry's reader would, of depth and members: around it are a batch and its lists. */
function requireSendable<Kind extends ImportKind>(kind: Kind, item: ImportItems[Kind]): void {
  const batch = { ...batchOf(nothing), [kind]: [item] };
  const { [kind]: read } = readImport(parseJson(JSON.stringify(importDocument(batch))) as object);
  if (read.length !== 1) throw new Error('an item was lost on its way');
}

/** `2016-03-31 21:54:39`, as PostgreSQL writes a timestamp; with `+00` it is one with a zone, and needs no clock. */
const timePattern = /^(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?(\+00)?$/;

function readTime(text: string | null, column: string, wallClock: WallClock): number {
  const match = timePattern.exec(text ?? '');
  if (match === null)
    throw new AppError(
      'bad-request',
      `${column} is ${text === null ? 'empty' : text.slice(0, 40)}, expected a time from the year 1 to 9999`,
    );
  const [, year, month, day, hour, minute, second, fraction = '', zone] = match;
  const date = new Date(0);
  date.setUTCFullYear(Number(year), Number(month) - 1, Number(day));
  date.setUTCHours(Number(hour), Number(minute), Number(second), Number(fraction.padEnd(3, '0').slice(0, 3)));
  return zone === undefined ? wallClock(date.getTime()) : date.getTime();
}

function requireObject(value: unknown): Record<string, unknown> {
  if (value === null) return {};
  if (typeof value === 'object' && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new AppError('bad-request', 'its data is no JSON object');
}

/** An empty text is as if it were not there. */
function textOf(value: unknown, name: string): string | null {
  if (value === undefined || value === null || value === '') return null;
  if (typeof value === 'string') return value;
  throw new AppError('bad-request', `${name} in its data is no text`);
}

function memberOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

/** Why, without how the API of old clients begins its refusals: no request was read here. */
function problemOf(error: unknown): string {
  if (isAppError(error)) return error.message.replace(/^parsing body body from "" failed, because /, '');
  throw error;
}

/** How many items it has. */
export function sizeOf(unit: Unit): number {
  return importKinds.reduce((sum, kind) => sum + unit[kind].length, 0);
}

/** All of them as one. */
export function joined(units: readonly Unit[]): Unit {
  return {
    clusters: units.flatMap(({ clusters }) => clusters),
    checkIns: units.flatMap(({ checkIns }) => checkIns),
    releases: units.flatMap(({ releases }) => releases),
    doctorReports: units.flatMap(({ doctorReports }) => doctorReports),
  };
}
