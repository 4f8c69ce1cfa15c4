/** Rows and how they are printed: at most 100 columns. */

export type Verdict = 'met' | 'not met' | 'not measured' | '';

export interface Row {
  readonly work: string;
  readonly ours: string;
  /** What stands beside it, by name: `bare 53,120/s`. Empty when there is nothing to compare with. */
  readonly beside: string;
  /** Ours through theirs as it is read in `reach`; null without a comparator. */
  readonly ratio: number | null;
  readonly reach: string;
  readonly verdict: Verdict;
  /** Server CPU, µs per operation: ours, theirs. */
  readonly cpu?: readonly [number, number | null];
}

export interface Group {
  readonly title: string;
  readonly rows: readonly Row[];
  /** How it was measured, and what a reader should know before believing it. */
  readonly notes: readonly string[];
}

export function row(
  row: Omit<Row, 'verdict' | 'ratio'> & { ratio?: number | null; met: boolean | null },
): Row {
  const { met, ratio, ...same } = row;
  return { ...same, ratio: ratio ?? null, verdict: met === null ? '' : met ? 'met' : 'not met' };
}

/** A row whose comparator, or whose own side, could not be had. */
export function notMeasured(work: string, reach: string, why: string): Row {
  return { work, ours: '-', beside: why, ratio: null, reach, verdict: 'not measured' };
}

const widths = [29, 11, 21, 6, 10, 7, 10] as const;
const heads = ['work', 'ours', 'beside', 'ratio', 'reach', 'verdict', 'CPU µs/op'] as const;
const lineMax = widths.reduce<number>((sum, width) => sum + width, widths.length - 1);

export function printGroup({ title, rows, notes }: Group): string {
  const lines = [``, title, formatLine(heads), '-'.repeat(lineMax)];
  for (const { work, ours, beside, ratio, reach, verdict, cpu } of rows) {
    const cost =
      cpu === undefined ? '' : `${cpu[0].toFixed(1)}${cpu[1] === null ? '' : `/${cpu[1].toFixed(1)}`}`;
    lines.push(
      formatLine([
        work,
        ours,
        beside,
        ratio === null ? '' : formatRatio(ratio),
        reach,
        verdict === 'not measured' ? 'not m.' : verdict,
        cost,
      ]),
    );
  }
  for (const note of notes)
    lines.push(...wrap(note, lineMax - 2).map((line, index) => `${index === 0 ? '· ' : '  '}${line}`));
  return lines.join('\n');
}

function formatLine(cells: readonly string[]): string {
  // A cell that is too long goes on in the next line rather than losing its end.
  const wrapped = cells.map((cell, index) => wrap(cell, widths[index] ?? 10));
  const height = Math.max(...wrapped.map((lines) => lines.length));
  return Array.from({ length: height }, (_, line) =>
    wrapped
      .map((lines, index) => {
        const text = lines[line] ?? '';
        const width = widths[index] ?? 10;
        return index === 0 || index === 2 || index >= 4 ? text.padEnd(width) : text.padStart(width);
      })
      .join(' ')
      .trimEnd(),
  ).join('\n');
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  lines.push(line);
  return lines;
}

export function formatRatio(ratio: number): string {
  return ratio >= 100 ? ratio.toFixed(0) : ratio >= 10 ? ratio.toFixed(1) : ratio.toFixed(2);
}

export function perSecond(rate: number): string {
  return `${Math.round(rate).toLocaleString('en-US')}/s`;
}

export function ms(value: number): string {
  return `${value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)} ms`;
}

export function mib(kib: number): string {
  return `${(kib / 1_024).toFixed(1)} MiB`;
}

export function median(values: readonly number[]): number {
  return percentile(values, 50);
}

/** Nearest rank. */
export function percentile(values: readonly number[] | Float64Array, rank: number): number {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.max(0, Math.ceil((rank / 100) * sorted.length) - 1)] ?? Number.NaN;
}
