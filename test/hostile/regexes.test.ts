/** Texts that make a regular expression or a parser of ours try for ever. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import * as ts from 'typescript/unstable/ast';
import { limits } from '../../src/base/limits.ts';
import { parseDuration, parseInstant } from '../../src/base/time.ts';
import { parsePosition } from '../../src/domain/event.ts';
import { normaliseHostName, parseUuid, requirePrintable } from '../../src/domain/ids.ts';
import { parseSelector } from '../../src/domain/selector.ts';
import { routesOf } from '../../src/http/routes.ts';
import { parseJson } from '../../src/wire/json.ts';
import { parseTexts, visitNodes } from '../helpers/syntax.ts';
import { assertUnharmed, targets, uuidOf } from './world.ts';

const src = join(import.meta.dirname, '../../src');
/** The longest text that an expression of a name, a header or a URL meets. */
const textMax = limits.urlBytes;
/** Row F6 says 10 ms; the least of five runs, on a machine that may be busy. */
const expressionMs = 10;

test('F6: every regular expression in src/ is done with a hostile text of 8 KiB within 10 ms', (t) => {
  const expressions = expressionsOf(src);
  assert(expressions.length > 50, `${expressions.length} found`);
  const slowest = expressions
    .map((expression) => ({ ...expression, ...slowestAttack(expression) }))
    .sort((a, b) => b.ms - a.ms);
  const words = slowest.map(
    ({ place, source, flags, ms, text }) => `/${source}/${flags} of ${place}: ${ms.toFixed(1)} ms on ${text}`,
  );
  t.diagnostic(`${expressions.length} expressions; the slowest: ${words[0]}`);
  assert.deepEqual(words.slice(0, slowest.filter(({ ms }) => ms > expressionMs).length), []);
});

test('F6: the search for slow expressions finds one', () => {
  for (const source of ['^(a+)+$', '^(.*,)*x$', '\\s+$', '^(\\w|\\d)*!$', '/+$']) {
    const { ms } = slowestAttack({ place: 'here', source, flags: '' });
    assert(ms > expressionMs, `${source}: ${ms} ms`);
  }
});

test('F6: selectors, instants, durations, positions, names and JSON take a time that their length explains', () => {
  const deep = limits.selectorBytes;
  const selectors = [
    '('.repeat(deep),
    `${'('.repeat(deep / 2)}a${')'.repeat(deep / 2)}`,
    `${'(a+'.repeat(deep / 3)}a`,
    '!'.repeat(deep),
    'a='.repeat(deep / 2),
    'a,'.repeat(deep / 2),
    'a '.repeat(deep / 2),
    ' '.repeat(deep),
    `a in (${'b,'.repeat(deep / 2 - 4)}b)`,
    `a${' in'.repeat(deep / 3)}`,
    `a notin (${' '.repeat(deep - 12)})`,
    `${'a notin '.repeat(deep / 8)}`,
    `@self/${'/'.repeat(deep - 6)}`,
    'a=b+'.repeat(deep / 4),
  ];
  for (const text of selectors) assertQuick(() => parseSelector(text, 'hosts'), text);
  const pumps = [
    '0',
    '9',
    ' ',
    '-',
    ':',
    '.',
    'T',
    'Z',
    'a',
    'é',
    '\u0000',
    '\ud800',
    '\u202e',
    '1d',
    '0.',
    '%',
    '\t ',
  ];
  for (const pump of pumps) {
    for (const text of [
      pump.repeat(textMax),
      `2026-01-31T00:00:00.${pump.repeat(textMax)}Z`,
      `1${pump.repeat(textMax)}`,
    ]) {
      for (const parse of [
        parseInstant,
        parseDuration,
        parseUuid,
        normaliseHostName,
        (given: string) => parsePosition(given),
        (given: string) => requirePrintable(given, 'name'),
        (given: string) => parseJson(given),
        (given: string) => parseJson(`"${given}`),
      ])
        assertQuick(() => parse(text), `${pump} …`);
    }
  }
});

test('F6: no query value or name in a path holds a server up', async (t) => {
  const { both } = await targets(t);
  const pumps = ['(', 'a,', '!', 'a notin (', '0', '%20', '%F0%9F%98%80', 'T', '-', '%2F'];
  for (const target of both) {
    for (const { method, path, operation } of routesOf(target.kind)) {
      if (operation.streams || operation.query === null) continue;
      const names = Object.keys((operation.query as { properties?: object }).properties ?? {});
      const filled = path.replaceAll(/:uuid/g, uuidOf(1)).replaceAll(/:\w+/g, 'nobody');
      for (const name of names) {
        for (const pump of pumps) {
          const room = limits.urlBytes - filled.length - name.length - 2;
          const encoded = pump.includes('%') ? pump : encodeURIComponent(pump);
          const url = `${filled}?${name}=${encoded.repeat(Math.floor(room / encoded.length))}`;
          const before = process.cpuUsage();
          const { status } = await target.http({ method, path: url });
          const { user, system } = process.cpuUsage(before);
          assert(status < 500, `${method} ${path}?${name}=${pump}…: ${status}`);
          assert(
            (user + system) / 1_000 < 250,
            `${method} ${path}?${name}=${pump}…: ${(user + system) / 1_000} ms`,
          );
        }
      }
    }
    await assertUnharmed(target);
  }
});

function assertQuick(parse: () => unknown, what: string): void {
  const ms = leastMs(() => {
    try {
      parse();
    } catch {
      // Refusing is as good as taking.
    }
  }, expressionMs);
  assert(ms <= expressionMs, `${what.slice(0, 40)}: ${ms.toFixed(1)} ms`);
}

/** Of up to five runs; no more once one is quick enough, or beyond all doubt too slow. */
function leastMs(work: () => void, enoughMs: number): number {
  let least = Number.POSITIVE_INFINITY;
  for (let run = 0; run < 5 && least > enoughMs && (run === 0 || least < 100); run += 1) {
    const startedMs = performance.now();
    work();
    least = Math.min(least, performance.now() - startedMs);
  }
  return least;
}

/** As programs use them: looked for, and replaced everywhere. */
function runEachWay(expression: RegExp, text: string): void {
  expression.test(text);
  expression.lastIndex = 0;
  text.replace(expression, '');
}

/** The longest that an expression takes for any attack, in milliseconds, and for which. */
function slowestAttack({ source, flags }: Expression): { ms: number; text: string } {
  const most = { ms: 0, text: '' };
  for (const attack of attacksOn(source)) {
    for (const [length, goOnMs] of sizes) {
      const text = attack(length);
      const ms = leastMs(() => runEachWay(new RegExp(source, flags), text), goOnMs);
      if (ms > most.ms) Object.assign(most, { ms, text: `${JSON.stringify(text.slice(0, 12))}…` });
      // A short one that is slow is enough, and one that is quick needs no longer text.
      if (ms > expressionMs) return most;
      if (ms < goOnMs && length > shortest) break;
    }
  }
  return most;
}

/** Exponential ones show at 23 characters, quadratic ones at 1,024: a text of 8 KiB only for what takes its time there. */
const shortest = 23;
const sizes: readonly (readonly [length: number, goOnMs: number])[] = [
  [shortest, 0.5],
  [1_024, 0.05],
  [textMax, expressionMs],
];

/** Every repeated thing that an expression may get stuck at, with an end that fits nothing. */
function attacksOn(source: string): ((length: number) => string)[] {
  const own = [...new Set(source.replaceAll(/\\[a-zA-Z](?:\{[^}]*\})?|[()[\]{}|^$*+?\\]/g, ''))].slice(0, 12);
  const words = source.match(/[a-z]{2,}/gi) ?? [];
  const pumps = new Set([...own, ...words.slice(0, 4), ...commonPumps]);
  const starts = ['', ...words.slice(0, 2), own[0] ?? ''];
  return [...pumps].flatMap((pump) =>
    starts.flatMap((start) =>
      ['', '\u0001!', '\n x'].map(
        (end) => (length: number) =>
          start + pump.repeat(Math.ceil(length / pump.length)).slice(0, length) + end,
      ),
    ),
  );
}

const commonPumps = [
  ...[
    ' ',
    '\t',
    '\n',
    'a',
    'A',
    '0',
    '-',
    '.',
    '/',
    ':',
    ',',
    '%',
    '"',
    '\\',
    '_',
    'é',
    '😀',
    '\u0000',
    '\u0085',
  ],
  ...['a ', '0.', 'a,', '=a', '\\"', '//', 'a/', ' \n'],
];

interface Expression {
  readonly place: string;
  readonly source: string;
  readonly flags: string;
}

function expressionsOf(folder: string): Expression[] {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.ts'),
  );
  const texts = new Map(names.map((name) => [`/src/${name}`, readFileSync(join(folder, name), 'utf8')]));
  const found: Expression[] = [];
  for (const [place, tree] of parseTexts(texts)) {
    visitNodes(tree, (node) => {
      if (!ts.isRegularExpressionLiteral(node)) return;
      const end = node.text.lastIndexOf('/');
      found.push({ place, source: node.text.slice(1, end), flags: node.text.slice(end + 1) });
    });
  }
  return found;
}
