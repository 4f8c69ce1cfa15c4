import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { limits } from '../../src/base/limits.ts';
import { isAppError } from '../../src/domain/error.ts';
import {
  automaticKeys,
  formatSelector,
  intersect,
  isSelfKey,
  matches,
  parseSelector,
  type Selectable,
  selectorKeys,
} from '../../src/domain/selector.ts';

function host(labels: Record<string, string>, over: Partial<Selectable> = {}): Selectable {
  return { labels, automatic: {}, self: {}, ...over };
}

function select(text: string, subject: Selectable): boolean {
  return matches(parseSelector(text), subject);
}

test('matches() compares values, and takes != and notin as true of what lacks the label', () => {
  const prod = host({ env: 'prod', tier: 'web' });
  const cases: [string, boolean][] = [
    ['env=prod', true],
    ['env=Prod', false],
    ['env=pro', false],
    ['env!=prod', false],
    ['env!=test', true],
    ['zone!=a', true],
    ['env in (test,prod)', true],
    ['env in (test)', false],
    ['zone in (a)', false],
    ['env notin (test,prod)', false],
    ['env notin (test)', true],
    ['zone notin (a)', true],
    ['env', true],
    ['zone', false],
    ['!env', false],
    ['!zone', true],
    ['env=prod tier=web', true],
    ['env=prod,tier=db', false],
    ['(env=test + tier=web)', true],
    ['(env=test + tier=db)', false],
    ['(env=prod tier=db + env=prod tier=web)', true],
    ['!zone,(env=test+env=prod)', true],
  ];
  for (const [text, expected] of cases) assert.equal(select(text, prod), expected, text);
});

test('P-37 matches() takes a space for intersection, + in parentheses for union, and a type that is added', () => {
  const selector = intersect(
    parseSelector('env=production (tier=startup +tier=teams)'),
    parseSelector('@type=runtime'),
  );
  assert.equal(formatSelector(selector), 'env=production (tier=startup + tier=teams) @type=runtime');
  const at = (env: string, tier: string, type = 'runtime') => host({ env, tier }, { automatic: { type } });
  const all = [
    at('production', 'startup'),
    at('production', 'teams'),
    at('production', 'enterprise'),
    at('staging', 'startup'),
    at('production', 'teams', 'channel'),
  ];
  assert.deepEqual(
    all.filter((subject) => matches(selector, subject)),
    [at('production', 'startup'), at('production', 'teams')],
  );
});

test('matches() keeps labels, automatic keys and what a host says of itself apart', () => {
  const subject = host(
    { name: 'label', 'self/rack': 'label' },
    { automatic: { name: 'edge-1', region: null }, self: { rack: 'r7' } },
  );
  assert(select('name=label @name=edge-1 @self/rack=r7 self/rack=label', subject));
  assert(select('!rack !@region !@app @name', subject), 'null and absent are alike');
  assert(!select('@name=label', subject));
});

test('matches() looks at own properties only', () => {
  for (const key of ['constructor', 'toString', 'hasOwnProperty']) {
    assert(!select(key, host({})));
    assert(!select(`@self/${key}`, host({})));
    assert(select(`${key}=x`, host({ [key]: 'x' })));
  }
});

test('parseSelector() accepts the spellings of the grammar and formatSelector() writes one of them', () => {
  const cases: [string, string][] = [
    ['env=prod', 'env=prod'],
    ['  env=prod  ', 'env=prod'],
    ['env=prod,tier=web', 'env=prod tier=web'],
    ['env=prod , tier=web\n zone', 'env=prod tier=web zone'],
    ['env in ( b , a,b )', 'env in (a,b)'],
    ['env in(a,b)', 'env in (a,b)'],
    ['env in (a)', 'env=a'],
    ['env notin (a)', 'env!=a'],
    ['(env=a)', 'env=a'],
    ['((env=a zone))', 'env=a zone'],
    ['( a + b=1,c +d )', '(a + b=1 c + d)'],
    ['a (b+c),d', 'a (b + c) d'],
    ['a index=1 inside notinside', 'a index=1 inside notinside'],
    ['app.kubernetes.io/name=x-1.2_3', 'app.kubernetes.io/name=x-1.2_3'],
    ['@self/rack/row=r7 @id=0190', '@self/rack/row=r7 @id=0190'],
    ['path=/srv/shop:8080@eu~*', 'path=/srv/shop:8080@eu~*'],
    ['stadt=Köln', 'stadt=Köln'],
    ['constructor=x', 'constructor=x'],
  ];
  for (const [text, canonical] of cases) {
    assert.equal(formatSelector(parseSelector(text)), canonical, text);
    assert.equal(formatSelector(parseSelector(canonical)), canonical);
  }
});

test('parseSelector() says where it stopped and what it expected', () => {
  const cases: [string, number, string][] = [
    ['', 1, 'found the end, expected a key'],
    ['  ', 3, 'found the end, expected a key'],
    [',a', 1, 'found ",", expected a key'],
    ['a,', 3, 'found the end, expected a key'],
    ['a,,b', 3, 'found ",", expected a key'],
    ['=a', 1, 'found "=", expected a key'],
    ['a=', 3, 'found the end, expected a value'],
    ['a==b', 3, 'found "=", expected a value'],
    ['a=b=c', 4, 'found "=", expected "," or a space'],
    ['a = b', 3, 'found "=", expected a key'],
    ['a="b"', 3, 'found "\\"", expected a value'],
    ['a(b)', 2, 'found "(", expected "," or a space'],
    ['(a)b', 4, 'found "b", expected "," or a space'],
    ['a!b', 2, 'found "!", expected "," or a space'],
    ['!', 2, 'found the end, expected a key'],
    ['!!a', 2, 'found "!", expected a key'],
    ['!a=b', 3, 'found "=", expected "," or a space'],
    ['a + b', 3, 'found "+", expected the end, "," or a space'],
    ['a)', 2, 'found ")", expected the end, "," or a space'],
    ['(a', 3, 'found the end, expected ")", "+", "," or a space'],
    ['()', 2, 'found ")", expected a key'],
    ['(a+)', 4, 'found ")", expected a key'],
    ['(+a)', 2, 'found "+", expected a key'],
    ['a in ()', 7, 'found ")", expected a value'],
    ['a in (b,)', 9, 'found ")", expected a value'],
    ['a in (b c)', 9, 'found "c", expected "," or ")"'],
    ['a in (b', 8, 'found the end, expected "," or ")"'],
    ['a in b', 3, 'found "in", expected a key'],
    ['in=a', 1, 'found "in", expected a key'],
    [
      '@nam=x',
      1,
      'found "@nam", expected one of @name, @id, @group, @region, @app, @channel, @type, @self/…',
    ],
    ['@self/=x', 1, 'found "@self/", expected a key'],
    ['ä=1', 1, 'found "ä", expected a key'],
    ['a=\0', 3, 'found "\\u0000", expected a value'],
    ['a=😀 \u{1F600}', 6, 'found "😀", expected a key'],
  ];
  for (const [text, column, problem] of cases) {
    assert.throws(() => parseSelector(text, 'hosts'), {
      code: 'bad-request',
      field: 'hosts',
      message: `Cannot read selector ${JSON.stringify(text)}: ${problem} at column ${column}`,
    });
  }
});

test('parseSelector() has limits: length, terms and values, depth', () => {
  const refused = (text: string, what: RegExp) =>
    assert.throws(() => parseSelector(text), { code: 'bad-request', message: what });
  const values = (count: number) => Array.from({ length: count }, (_, index) => `v${index}`).join();
  const nested = (depth: number) => `${'('.repeat(depth)}a+b${')'.repeat(depth)}`;
  assert.doesNotThrow(() => parseSelector(`k in (${values(limits.selectorTermsMax - 1)})`));
  refused(`k in (${values(limits.selectorTermsMax)})`, /more than 128 terms and values/);
  refused('a '.repeat(limits.selectorTermsMax + 1).trimEnd(), /more than 128 terms and values/);
  assert.doesNotThrow(() => parseSelector(nested(limits.selectorDepthMax)));
  refused(nested(limits.selectorDepthMax + 1), /deeper than 8/);
  refused('('.repeat(4_000), /deeper than 8/);
  assert.doesNotThrow(() => parseSelector(`k=${'v'.repeat(limits.selectorBytes - 2)}`));
  refused(`k=${'ü'.repeat(limits.selectorBytes / 2)}`, /longer than 4096 bytes/);
  refused(`(${'a+'.repeat(99)}b k=${'v'.repeat(limits.selectorBytes - 250)})`, /longer than 4096 bytes/);
  refused('k'.repeat(129), /expected "," or a space at column 129/);
});

test('selectorKeys() finds keys inside parentheses too', () => {
  const keys = selectorKeys(parseSelector('env=a (!zone + (@self/rack in (a,b) + @region)) env'));
  assert.deepEqual([...keys], ['env', 'zone', '@self/rack', '@region']);
  assert.deepEqual([...keys].filter(isSelfKey), ['@self/rack']);
});

/** A selector as its own evaluator and, independently, as one of its spellings. */
interface Sample {
  readonly text: string;
  readonly holds: (all: Record<string, string>) => boolean;
}

const key = fc.constantFrom('env', 'tier', 'in-1', '@region', '@self/rack');
const value = fc.constantFrom('a', 'b', 'c', 'in', 'notin');
const gap = fc.constantFrom(' ', ',', ' , ', '  ');
const inside = fc.constantFrom('', ' ');

const leaf: fc.Arbitrary<Sample> = fc.oneof(
  fc
    .tuple(key, value)
    .map(([k, v]) => ({ text: `${k}=${v}`, holds: (all: Record<string, string>) => all[k] === v })),
  fc
    .tuple(key, value)
    .map(([k, v]) => ({ text: `${k}!=${v}`, holds: (all: Record<string, string>) => all[k] !== v })),
  key.map((k) => ({ text: k, holds: (all: Record<string, string>) => k in all })),
  key.map((k) => ({ text: `!${k}`, holds: (all: Record<string, string>) => !(k in all) })),
  fc
    .tuple(key, fc.constantFrom('in', 'notin'), fc.array(value, { minLength: 1, maxLength: 2 }), inside)
    .map(([k, kind, values, space]) => ({
      text: `${k} ${kind}${space}(${space}${values.join(`${space},`)}${space})`,
      holds: (all: Record<string, string>) => values.some((v) => all[k] === v) === (kind === 'in'),
    })),
);

const { selector: sample } = fc.letrec<{ term: Sample; selector: Sample }>((tie) => ({
  term: fc.oneof(
    { maxDepth: 2, withCrossShrink: true },
    leaf,
    fc.tuple(fc.array(tie('selector'), { minLength: 1, maxLength: 2 }), inside).map(([of, space]) => ({
      text: `(${of.map(({ text }) => text).join(`${space}+${space}`)})`,
      holds: (all: Record<string, string>) => of.some(({ holds }) => holds(all)),
    })),
  ),
  selector: fc
    .tuple(fc.array(tie('term'), { minLength: 1, maxLength: 2 }), gap)
    .map(([terms, separator]) => ({
      text: terms.map(({ text }) => text).join(separator),
      holds: (all: Record<string, string>) => terms.every(({ holds }) => holds(all)),
    })),
}));

const everything = fc.dictionary(key, value, { noNullPrototype: true });

function selectable(all: Record<string, string>): Selectable {
  const { '@region': region, '@self/rack': rack, ...labels } = all;
  return { labels, automatic: { region }, self: rack === undefined ? {} : { rack } };
}

test('matches() agrees with a naive evaluator, and so does what formatSelector() writes', () => {
  fc.assert(
    fc.property(sample, everything, ({ text, holds }, all) => {
      const selector = parseSelector(text);
      assert.equal(matches(selector, selectable(all)), holds(all));
      assert.deepEqual(parseSelector(formatSelector(selector)), selector);
    }),
    { numRuns: 5_000 },
  );
});

test('parseSelector() throws nothing but bad-request, on any text and on pieces of the grammar', () => {
  const pieces = fc
    .array(
      fc.constantFrom(
        '(',
        ')',
        '+',
        ',',
        ' ',
        '=',
        '!=',
        '!',
        'in',
        'notin',
        'a',
        'b',
        ...automaticKeys,
        '@',
        '@self/',
        '"',
      ),
    )
    .map((parts) => parts.join(''));
  fc.assert(
    fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.string(), pieces), (text) => {
      try {
        const selector = parseSelector(text);
        assert.equal(formatSelector(parseSelector(formatSelector(selector))), formatSelector(selector));
      } catch (error) {
        assert(isAppError(error, 'bad-request'), String(error));
      }
    }),
    { numRuns: 5_000 },
  );
});
