/** What goes to stdout: the same answer as a table for people, or as JSON and YAML for programs. */
import type { Io, Output } from './io.ts';

export const forms = ['table', 'wide', 'json', 'yaml'] as const;
export type Form = (typeof forms)[number];

export interface Column<Row> {
  readonly title: string;
  readonly of: (row: Row) => string | null;
  /** Only with `-o wide`. */
  readonly wide?: boolean;
  /** Never cut: what people copy, such as ids. */
  readonly whole?: boolean;
}

/** What an empty value looks like. */
export const none = '-';
const gap = 2;
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
 * Rows below titles. On a terminal the table fits its width: the widest columns are cut first, never wrapped; into a
 * pipe everything is written whole.
 */
export function writeTable<Row>(
  io: Io,
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  form: Form,
): void {
  const shown = columns.filter((column) => form === 'wide' || column.wide !== true);
  const cells = rows.map((row) => shown.map((column) => printable(column.of(row) ?? none)));
  const titles = shown.map((column) => column.title);
  const natural = titles.map((title, index) =>
    Math.max(...[title, ...cells.map((line) => line[index] ?? '')].map(displayWidth)),
  );
  const widths = fitted(natural, shown, io.stdout.columns);
  const colors = hasColors(io, io.stdout);
  io.stdout.write(`${paint(colors, 'bold', line(titles, widths))}\n`);
  for (const row of cells) {
    io.stdout.write(`${line(row, widths, (text) => paintWord(colors, text))}\n`);
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
    io.stdout.write(`${pad(label, width)}  ${paintWord(colors, text)}\n`);
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

/** Status words in their color, everything else as it is. */
function paintWord(colors: boolean, text: string): string {
  const word = text.trimEnd();
  if (word === 'UP' || word === 'ok') return paint(colors, 'green', text);
  if (word === 'DOWN' || word === 'failed') return paint(colors, 'red', text);
  if (word === 'UNKNOWN' || word === 'degraded') return paint(colors, 'yellow', text);
  return text;
}

/** What others wrote must not move the cursor, color the screen or break the row. */
export function printable(text: string): string {
  return text.replace(/\s+/g, ' ').replace(/\p{C}/gu, '\u{fffd}');
}

function line(
  cells: readonly string[],
  widths: readonly number[],
  style: (text: string) => string = (text) => text,
): string {
  return cells
    .map((cell, index) => {
      const text = cut(cell, widths[index] ?? 0);
      return style(index === cells.length - 1 ? text : pad(text, widths[index] ?? 0));
    })
    .join(' '.repeat(gap))
    .trimEnd();
}

/** Takes from the widest column that may be cut until the row fits, or nothing more can be taken. */
function fitted<Row>(
  natural: readonly number[],
  columns: readonly Column<Row>[],
  terminalWidth: number | undefined,
): number[] {
  const widths = [...natural];
  if (terminalWidth === undefined) return widths;
  const minima = columns.map((column, index) =>
    column.whole === true
      ? (natural[index] ?? 0)
      : Math.min(natural[index] ?? 0, Math.max(columnMin, displayWidth(column.title))),
  );
  let excess = widths.reduce((sum, width) => sum + width, gap * (widths.length - 1)) - terminalWidth;
  for (; excess > 0; excess -= 1) {
    const slack = widths.map((width, index) => (width > (minima[index] ?? 0) ? width : 0));
    const widest = slack.indexOf(Math.max(...slack));
    const width = slack[widest] ?? 0;
    if (width === 0) {
      // Even ids must give way when the terminal is narrower than they are: a wrapped row is worse.
      const last = widths.indexOf(Math.max(...widths));
      widths[last] = Math.max(1, (widths[last] ?? 1) - 1);
    } else {
      widths[widest] = width - 1;
    }
  }
  return widths;
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
