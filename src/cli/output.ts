/** What goes to stdout: the same answer as a table for people, or as JSON and YAML for programs. */
import type { Io, Output } from './io.ts';

export const forms = ['table', 'wide', 'json', 'yaml'] as const;
export type Form = (typeof forms)[number];

export interface Column<Row> {
  readonly title: string;
  readonly of: (row: Row) => string | null;
  /** Only with `-o wide`. */
  readonly wide?: boolean;
  /** Cut last: what people copy, such as ids. */
  readonly whole?: boolean;
  /** Left out first where the terminal is narrow. */
  readonly spare?: boolean;
  /** Begins with a status word, which gets its color and is cut last. */
  readonly status?: boolean;
}

/** What an empty value looks like. */
export const none = '-';
const gap = '  ';
/** A cut column keeps at least this much, or its title. */
const columnMin = 8;

/** The server's text, with the one line end that a terminal wants. */
export function writeJson(io: Io, text: string): void {
  io.stdout.write(text.endsWith('\n') ? text : `${text}\n`);
}

export async function writeYaml(io: Io, text: string): Promise<void> {
  const { stringify } = await import('yaml');
  io.stdout.write(stringify(JSON.parse(text)));
}

/**
 * Rows below titles. On a terminal the table fits its width: spare columns give way, then the widest are cut, and no
 * row is ever wrapped. Into a pipe everything is written whole.
 */
export function writeTable<Row>(
  io: Io,
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  form: Form,
): void {
  const laidOut = columns
    .filter((column) => form === 'wide' || column.wide !== true)
    .map((column): LaidOut => {
      const cells = rows.map((row) => printable(column.of(row) ?? none));
      const natural = Math.max(...[column.title, ...cells].map(displayWidth));
      const least = Math.min(natural, Math.max(columnMin, displayWidth(column.title)));
      return {
        ...column,
        cells,
        width: natural,
        widthMin: column.whole === true || column.status === true ? natural : least,
      };
    });
  const shown = io.stdout.columns === undefined ? laidOut : fitted(laidOut, io.stdout.columns);
  const colors = hasColors(io, io.stdout);
  const titles = shown.map(({ title, width }) => pad(cut(title, width), width));
  io.stdout.write(`${paint(colors, 'bold', titles.join(gap).trimEnd())}\n`);
  for (const index of rows.keys()) {
    const line = shown.map(({ cells, width, status }) => {
      const text = pad(cut(cells[index] ?? none, width), width);
      return status === true ? paintStatus(colors, text) : text;
    });
    io.stdout.write(`${line.join(gap).trimEnd()}\n`);
  }
}

/** Label and value pairs, one a line: a single record. */
export function writeRecord(
  io: Io,
  fields: readonly (readonly [label: string, value: string | null])[],
): void {
  const width = Math.max(...fields.map(([label]) => displayWidth(label)));
  const colors = hasColors(io, io.stdout);
  for (const [label, value] of fields) {
    const text = printable(value ?? none);
    io.stdout.write(`${pad(label, width)}${gap}${label === 'status' ? paintStatus(colors, text) : text}\n`);
  }
}

/** https://no-color.org: any value but the empty one turns colors off; a pipe never has them. */
export function hasColors(io: Io, output: Output): boolean {
  return output.columns !== undefined && (io.env['NO_COLOR'] ?? '') === '' && io.env['TERM'] !== 'dumb';
}

const styles = { bold: '1', dim: '2', red: '31', green: '32', yellow: '33' } as const;

export function paint(colors: boolean, style: keyof typeof styles, text: string): string {
  return colors ? `\u001b[${styles[style]}m${text}\u001b[0m` : text;
}

/** A text that begins with a status word, in its color. */
export function paintStatus(colors: boolean, text: string): string {
  const [word = ''] = /^\w+/.exec(text) ?? [];
  const style = statusStyles[word];
  return style === undefined ? text : paint(colors, style, text);
}

const statusStyles: Readonly<Record<string, keyof typeof styles>> = {
  UP: 'green',
  ok: 'green',
  DOWN: 'red',
  failed: 'red',
  passing: 'green',
  failing: 'red',
  unknown: 'yellow',
  UNKNOWN: 'yellow',
  degraded: 'yellow',
};

/** What others wrote must not move the cursor, color the screen or break the row. */
export function printable(text: string): string {
  return text.replace(/\s+/g, ' ').replace(/\p{C}/gu, '\u{fffd}');
}

interface LaidOut {
  readonly title: string;
  readonly cells: readonly string[];
  readonly width: number;
  readonly widthMin: number;
  readonly spare?: boolean;
  readonly status?: boolean;
}

function fitted(columns: readonly LaidOut[], terminalWidth: number): LaidOut[] {
  const fitting = [...columns];
  const excess = (widthOf: (column: LaidOut) => number) =>
    fitting.reduce((sum, column) => sum + widthOf(column), gap.length * (fitting.length - 1)) - terminalWidth;
  // Leave out: spare columns first, the last first; in the end those for which not even one character is left.
  while (excess(({ widthMin }) => widthMin) > 0 && fitting.some(({ spare }) => spare === true)) {
    fitting.splice(
      fitting.findLastIndex(({ spare }) => spare === true),
      1,
    );
  }
  while (excess(() => 1) > 0 && fitting.length > 1) fitting.pop();
  // Cut: the widest by one, as long as one can give; then also what should stay whole.
  const widths = fitting.map(({ width }) => width);
  for (let left = excess(({ width }) => width); left > 0; left -= 1) {
    const slack = widths.map((width, index) => (width > (fitting[index]?.widthMin ?? 0) ? width : 0));
    const candidates = Math.max(...slack) > 0 ? slack : widths;
    const widest = candidates.indexOf(Math.max(...candidates));
    widths[widest] = (widths[widest] ?? 1) - 1;
  }
  return fitting.map((column, index) => ({ ...column, width: Math.max(1, widths[index] ?? 1) }));
}

function cut(text: string, width: number): string {
  if (displayWidth(text) <= width) return text;
  let kept = '';
  for (const character of text) {
    if (displayWidth(kept) + displayWidth(character) > width - 1) break;
    kept += character;
  }
  return `${kept}…`;
}

function pad(text: string, width: number): string {
  return text + ' '.repeat(Math.max(0, width - displayWidth(text)));
}

/** Columns that a text takes: two for East Asian wide characters and pictures, none for combining marks. */
function displayWidth(text: string): number {
  let width = 0;
  for (const character of text) {
    if (/\p{M}/u.test(character)) continue;
    width +=
      /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u.test(
        character,
      )
        ? 2
        : 1;
  }
  return width;
}
