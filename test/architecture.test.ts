/**
 * DESIGN §2 as a test: who may import whom, and which file owns time, randomness, the environment and processes.
 * Every rule is a function over parsed modules; the second half of this file shows that each one can fail.
 * Parsed by the compiler itself (a grep would trip over comments and strings).
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { test } from 'node:test';
import * as ts from 'typescript/unstable/ast';
import { parseTexts, visitNodes } from './helpers/syntax.ts';

interface Import {
  /** Path below src/ for a relative import, which may not exist; undefined for packages and built-in modules. */
  readonly target: string | undefined;
  readonly typeOnly: boolean;
}

interface Module {
  /** Path below src/, such as `http/server.ts`. */
  readonly path: string;
  readonly tree: ts.SourceFile;
  readonly nodes: readonly ts.Node[];
  readonly imports: readonly Import[];
}

type Rule = (module: Module, all: readonly Module[]) => string[];

/** DESIGN §2, word for word: importer → what it may import besides its own folder. */
const MATRIX: Readonly<Record<string, readonly string[]>> = {
  base: [],
  domain: ['base'],
  wire: ['domain', 'base'],
  store: ['domain', 'base'],
  runner: ['domain', 'base', 'wire'],
  http: ['wire', 'domain', 'base'],
  client: ['wire', 'domain', 'base'],
  agent: ['client', 'store', 'http', 'wire', 'domain', 'base'],
  registry: ['store', 'http', 'client', 'wire', 'domain', 'base'],
  cli: ['agent', 'runner', 'registry', 'client', 'store', 'wire', 'domain', 'base'],
  'index.ts': ['agent', 'registry', 'client', 'domain'],
  'main.ts': ['cli'],
  web: ['wire', 'domain'],
};

/** Single edges outside the matrix, each with its reason. */
const EXCEPTIONS: Readonly<Record<string, string>> = {
  'index.ts → base/version.ts':
    'an embedder asks which version it has, and no role should carry that constant',
};

/** Names that may stand in several of http/, store/ and client/ without being a domain: watching, paging, the role itself. */
const SHARED_TECHNOLOGY = ['page.ts', 'system.ts', 'watch.ts'];

const importMatrix: Rule = (module) =>
  module.imports.flatMap((edge) => {
    if (edge.target === undefined) return [];
    const [from, to] = [areaOf(module.path), areaOf(edge.target)];
    if (`${module.path} → ${edge.target}` in EXCEPTIONS) return [];
    const allowed = MATRIX[from];
    if (allowed === undefined)
      return [`${from} is not a part of src/: DESIGN §2 lists ${Object.keys(MATRIX).join(', ')}`];
    if (from !== to && !allowed.includes(to)) {
      return [
        `imports ${edge.target}: ${from} may import ${allowed.join(', ') || 'nothing'}, so that decisions stay pure and parts replaceable`,
      ];
    }
    if (from === 'web' && to !== 'web' && !edge.typeOnly) {
      return [`imports values of ${edge.target}: web takes types only, it talks to /v1 like anyone else`];
    }
    return [];
  });

const noCycles: Rule = (module, all) => {
  const next = (path: string) =>
    all.find((one) => one.path === path)?.imports.flatMap((edge) => edge.target ?? []) ?? [];
  const seen = new Set<string>();
  const search = (path: string, trail: string[]): string[] | undefined => {
    for (const target of next(path)) {
      if (target === module.path) return [...trail, target];
      // Each cycle is told once, by its first file.
      if (target < module.path || seen.has(target)) continue;
      seen.add(target);
      const found = search(target, [...trail, target]);
      if (found !== undefined) return found;
    }
    return undefined;
  };
  const cycle = search(module.path, [module.path]);
  return cycle === undefined
    ? []
    : [
        `is in the cycle ${cycle.join(' → ')}: none of them can be read or tested alone; move what they share down`,
      ];
};

const MUTATORS = [
  'set',
  'add',
  'delete',
  'clear',
  'push',
  'pop',
  'shift',
  'unshift',
  'splice',
  'sort',
  'fill',
  'reverse',
];

const noModuleState: Rule = (module) => {
  const why = 'two servers in one process would share it; pass it in or keep it in an object';
  const failures: string[] = [];
  const constants = new Set<string>();
  for (const statement of module.tree.statements) {
    if (!ts.isVariableStatement(statement)) continue;
    for (const { name, initializer } of statement.declarationList.declarations) {
      // The end of a `declare const` line has no initializer and no state.
      if ((statement.declarationList.flags & ts.NodeFlags.Const) === 0)
        failures.push(`top-level let or var ${name.getText()}: ${why}`);
      else if (initializer !== undefined && isEmptyCollection(initializer))
        failures.push(`top-level empty collection ${name.getText()}: ${why}`);
      else constants.add(name.getText());
    }
  }
  for (const node of module.nodes) {
    if (
      ts.isPropertyDeclaration(node) &&
      has(node, ts.SyntaxKind.StaticKeyword) &&
      !has(node, ts.SyntaxKind.ReadonlyKeyword)
    ) {
      failures.push(`static field ${node.name.getText()} without readonly: ${why}`);
    }
    const mutated = mutatedName(node);
    if (mutated !== undefined && constants.has(mutated))
      failures.push(`changes the top-level constant ${mutated}: ${why}`);
  }
  return failures;
};

/** A rule "only `owners` may use these": `uses` names what a node uses, or undefined. */
function ownedBy(owners: readonly string[], why: string, uses: (node: ts.Node) => string | undefined): Rule {
  return (module) => {
    if (owners.some((owner) => module.path === owner || module.path.startsWith(`${owner}/`))) return [];
    return module.nodes.flatMap((node) => {
      const used = uses(node);
      return used === undefined
        ? []
        : [
            `line ${lineOf(module, node)} uses ${used}: only ${owners.join(' and ') || 'no file'} may; ${why}`,
          ];
    });
  };
}

const TIMERS = ['setTimeout', 'setInterval', 'setImmediate'];
// The page in the browser has no Clock to be given: it may not import base/.
const wallClock = ownedBy(['base/clock.ts', 'web'], 'take a Clock, so that tests never sleep', (node) => {
  if (
    isMember(node, ['Date.now', 'performance.now', 'process.hrtime', 'process.uptime', 'AbortSignal.timeout'])
  )
    return node.getText();
  if (ts.isNewExpression(node) && node.expression.getText() === 'Date' && (node.arguments?.length ?? 0) === 0)
    return 'new Date()';
  if (ts.isCallExpression(node) && node.expression.getText() === 'Date') return 'Date()';
  if (ts.isIdentifier(node) && TIMERS.includes(node.text) && !isDeclaredName(node)) return node.text;
  return importedModule(node, ['timers', 'timers/promises', 'perf_hooks']);
});

const RANDOM = ['randomUUID', 'randomBytes', 'randomInt', 'randomFill', 'randomFillSync', 'getRandomValues'];
const UUID = /^v[1467]$/;
const randomness = ownedBy(
  ['base/random.ts'],
  'take a random source, so that simulations replay from a seed',
  (node) => {
    if (isMember(node, ['Math.random'])) return node.getText();
    // uuid draws by itself unless it is given the bytes: v7({ msecs, random }).
    if (ts.isImportSpecifier(node) && UUID.test(node.propertyName?.text ?? ''))
      return `uuid ${node.getText()}`;
    if (
      ts.isCallExpression(node) &&
      UUID.test(node.expression.getText()) &&
      !hasProperty(node.arguments[0], 'random')
    ) {
      return `uuid ${node.expression.getText()} without { random }`;
    }
    return ts.isIdentifier(node) && RANDOM.includes(node.text) ? node.text : undefined;
  },
);

const environment = ownedBy(['cli'], 'pass the value in: a setting has one way into the program', (node) => {
  if (isMember(node, ['process.env'])) return 'process.env';
  return importedModule(node, ['process']);
});

const consoleOutput = ownedBy([], 'use the log, or process.stdout and stderr in cli/', (node) =>
  ts.isIdentifier(node) && node.text === 'console' && !isDeclaredName(node) ? 'console' : undefined,
);

const processEnd = ownedBy(
  ['main.ts'],
  'throw or return, so that everything above can close what it opened',
  (node) => {
    if (isMember(node, ['process.exit', 'process.abort', 'process.kill', 'process.reallyExit'])) {
      // A runner stops what it started; by pid there is no other way to.
      return node.getText() === 'process.kill' && areaOfNode(node) === 'runner' ? undefined : node.getText();
    }
    return isMember(node, ['process.on', 'process.once', 'process.addListener'])
      ? `${node.getText()} (signal handlers)`
      : undefined;
  },
);

const childProcesses = ownedBy(
  ['runner', 'base/notify.ts'],
  'agent and registry start no foreign code (DESIGN §4)',
  (node) => {
    if (isMember(node, ['process.execve'])) return 'process.execve';
    return importedModule(node, ['child_process', 'cluster']);
  },
);

const docComment: Rule = (module) =>
  /^(#!.*\n)?\/\*\*/.test(module.tree.text)
    ? []
    : ['starts without a doc comment: the first thing a reader needs is what this file is for'];

const COLUMNS = ['http', 'store', 'client'];
const domainNames: Rule = (module, all) => {
  const parts = module.path.split('/');
  const [column = '', name = ''] = parts;
  if (parts.length !== 2 || !COLUMNS.includes(column) || SHARED_TECHNOLOGY.includes(name)) return [];
  // A technology has its word to itself; one that stands in two columns is a domain's.
  const twins = COLUMNS.filter(
    (other) => other !== column && all.some((one) => one.path === `${other}/${name}`),
  );
  if (twins.length === 0 || all.some((one) => one.path === `domain/${name}`)) return [];
  return [
    `is also in ${twins.join(' and ')}, but domain/${name} does not exist: one name in every column, so that a reader predicts the file`,
  ];
};

const RULES: Readonly<Record<string, Rule>> = {
  'imports follow the matrix of DESIGN §2': importMatrix,
  'no import cycles': noCycles,
  'no module-level mutable state': noModuleState,
  'the wall clock belongs to base/clock.ts': wallClock,
  'randomness belongs to base/random.ts': randomness,
  'the environment belongs to cli/': environment,
  'nothing writes to the console': consoleOutput,
  'main.ts alone ends the process and hears signals': processEnd,
  'child processes belong to runner/ and base/notify.ts': childProcesses,
  'every file starts with a doc comment': docComment,
  'http/, store/ and client/ use the names of domain/': domainNames,
};

const [modules = []] = parse([readSources(join(import.meta.dirname, '../src'))]);
for (const [name, rule] of Object.entries(RULES)) {
  test(`architecture: ${name}`, () => {
    const failures = modules.flatMap((module) =>
      rule(module, modules).map((text) => `src/${module.path}: ${text}`),
    );
    assert.equal(failures.length, 0, `\n${failures.join('\n')}\n`);
  });
}

/** What each rule must refuse: files below src/ (a doc comment is put before each) and how often it fails. */
const REFUSED: readonly [rule: Rule, times: number, files: Record<string, string>][] = [
  [importMatrix, 1, { 'domain/a.ts': `import { b } from '../store/b.ts';`, 'store/b.ts': '' }],
  [importMatrix, 1, { 'base/a.ts': `export type { B } from '../domain/b.ts';`, 'domain/b.ts': '' }],
  [importMatrix, 1, { 'http/a.ts': `const b = () => import('../store/b.ts');`, 'store/b.ts': '' }],
  [importMatrix, 1, { 'wire/a.ts': `type B = import('../http/b.ts').B;`, 'http/b.ts': '' }],
  [importMatrix, 1, { 'main.ts': `import './base/b.ts';`, 'base/b.ts': '' }],
  [
    importMatrix,
    1,
    {
      'web/a.ts': `import { B } from '../wire/b.ts'; import type { C } from '../wire/b.ts';`,
      'wire/b.ts': '',
    },
  ],
  [importMatrix, 1, { 'helpers/a.ts': `import '../base/b.ts';`, 'base/b.ts': '' }],
  [
    noCycles,
    1,
    { 'base/a.ts': `import './b.ts';`, 'base/b.ts': `import './c.ts';`, 'base/c.ts': `import './a.ts';` },
  ],
  [noModuleState, 2, { 'base/a.ts': 'let a = 1; export var b = 2; const c = 3;' }],
  [noModuleState, 3, { 'base/a.ts': 'const a = new Map(); const b: string[] = []; const c = {};' }],
  [
    noModuleState,
    3,
    {
      'base/a.ts': `const a = new Set(['x']), b = [1]; function f() { a.add('y'); b[0] = 2; b.length = 0; }`,
    },
  ],
  [noModuleState, 1, { 'base/a.ts': 'class A { static a = 1; static readonly b = 1; c = 1 }' }],
  [wallClock, 4, { 'agent/a.ts': 'const f = () => [Date.now(), new Date(), Date(), performance.now()];' }],
  [
    wallClock,
    4,
    {
      'agent/a.ts': `import { setTimeout } from 'node:timers/promises'; setInterval(f); g(setImmediate); AbortSignal.timeout(1);`,
    },
  ],
  [
    randomness,
    5,
    {
      'agent/a.ts': `import { randomUUID } from 'node:crypto'; import { v7 as id, v4 } from 'uuid'; v4({ msecs: 1 }); Math.random(); crypto.randomBytes(1);`,
    },
  ],
  [environment, 2, { 'agent/a.ts': `import { env } from 'node:process'; const home = process.env['HOME'];` }],
  [consoleOutput, 1, { 'cli/a.ts': 'console.log(1);' }],
  [
    processEnd,
    3,
    {
      'cli/a.ts': `process.exit(1); process.on('SIGINT', f); process.kill(1);`,
      'runner/b.ts': 'process.kill(1);',
    },
  ],
  [
    childProcesses,
    1,
    {
      'agent/a.ts': `import { spawn } from 'node:child_process';`,
      'runner/b.ts': `import 'node:child_process';`,
    },
  ],
  [domainNames, 2, { 'http/gate.ts': '', 'store/gate.ts': '', 'store/sqlite.ts': '' }],
];

/** What no rule may refuse: the same words where they are no offence. */
const ACCEPTED: Record<string, string> = {
  'base/clock.ts': 'export const now = () => Date.now() + performance.now(); setTimeout(now, 1);',
  'base/random.ts': `import { randomUUID } from 'node:crypto'; export const id = () => randomUUID();`,
  'domain/ids.ts': `import { v7 } from 'uuid'; export const mint = (msecs: number, random: Uint8Array) => v7({ msecs, random });`,
  'base/log.ts': `const LEVELS = ['info']; export const text = () => 'console.log(Date.now())'; // process.env`,
  'domain/gate.ts': `import { now } from '../base/clock.ts'; export const at = (ms: number) => new Date(ms).toISOString();`,
  'store/gate.ts': `import type { at } from '../domain/gate.ts'; class A { clock = { setTimeout: 1 }; f() { this.clock.setTimeout; const m = new Map(); m.set(1, 2); } }`,
  'http/gate.ts': `import '../domain/gate.ts'; let$.a = 1;`,
  'cli/a.ts': `import '../runner/b.ts'; process.stdout.write(process.env['HOME'] ?? '');`,
  'runner/b.ts': `import { spawn } from 'node:child_process';`,
  'main.ts': `import './cli/a.ts'; process.on('SIGINT', () => process.exit(0));`,
};

test('every rule refuses what it is for, and only that', () => {
  const refused = REFUSED.map(([, , files]) => withComments(files));
  const [bare = [], accepted = [], ...parsed] = parse([
    { 'base/a.ts': '// not a doc comment\n' },
    withComments(ACCEPTED),
    ...refused,
  ]);
  for (const [index, [rule, times, files]] of REFUSED.entries()) {
    const all = parsed[index] ?? [];
    const failures = all.flatMap((module) => rule(module, all));
    assert.equal(failures.length, times, `${JSON.stringify(files)} gave ${JSON.stringify(failures)}`);
  }
  assert.equal(bare.flatMap((module) => docComment(module, bare)).length, 1);
  const refusals = accepted.flatMap((module) =>
    Object.values(RULES).flatMap((rule) => rule(module, accepted)),
  );
  assert.deepEqual(refusals, []);
});

function withComments(files: Record<string, string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(files).map(([path, text]) => [path, `/** Example. */\n${text}\n`]),
  );
}

function readSources(folder: string): Record<string, string> {
  const paths = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((path) =>
    path.endsWith('.ts'),
  );
  return Object.fromEntries(paths.sort().map((path) => [path, readFileSync(join(folder, path), 'utf8')]));
}

/** Parses sets of files, each given as path below src/ → text, in memory and without looking at what they import. */
function parse(sets: readonly Record<string, string>[]): Module[][] {
  const texts = new Map<string, string>();
  for (const [index, files] of sets.entries()) {
    for (const [path, text] of Object.entries(files)) texts.set(`/${index}/${path}`, text);
  }
  const trees = parseTexts(texts);
  return sets.map((files, index) =>
    Object.keys(files).map((path) => moduleOf(path, trees.get(`/${index}/${path}`) as ts.SourceFile)),
  );
}

function moduleOf(path: string, tree: ts.SourceFile): Module {
  const nodes: ts.Node[] = [];
  visitNodes(tree, (node) => nodes.push(node));
  return { path, tree, nodes, imports: nodes.flatMap((node) => importOf(path, node) ?? []) };
}

function importOf(path: string, node: ts.Node): Import | undefined {
  const specifier = specifierOf(node);
  if (specifier === undefined) return undefined;
  const clause = ts.isImportDeclaration(node) ? node.importClause : undefined;
  const typeOnly =
    ts.isImportTypeNode(node) ||
    clause?.phaseModifier === ts.SyntaxKind.TypeKeyword ||
    (ts.isExportDeclaration(node) && node.isTypeOnly);
  const target = specifier.startsWith('.') ? normalize(join(dirname(path), specifier)) : undefined;
  return { target, typeOnly };
}

/** The module that a node imports: import, export from, import(), typeof import(). */
function specifierOf(node: ts.Node): string | undefined {
  let literal: ts.Node | undefined;
  if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) literal = node.moduleSpecifier;
  else if (ts.isImportTypeNode(node))
    literal = ts.isLiteralTypeNode(node.argument) ? node.argument.literal : undefined;
  else if (ts.isCallExpression(node) && ['import', 'require'].includes(node.expression.getText()))
    literal = node.arguments[0];
  return literal !== undefined && ts.isStringLiteral(literal) ? literal.text : undefined;
}

function importedModule(node: ts.Node, names: readonly string[]): string | undefined {
  const specifier = specifierOf(node)?.replace(/^node:/, '');
  return specifier !== undefined && names.includes(specifier) ? specifier : undefined;
}

function isMember(node: ts.Node, names: readonly string[]): boolean {
  return (
    ts.isPropertyAccessExpression(node) &&
    names.includes(
      node
        .getText()
        .replace(/^globalThis\./, '')
        .replace('?.', '.'),
    )
  );
}

/** Whether an identifier is only the name of somebody's member, such as `clock.setTimeout` or `{ setTimeout: 1 }`. */
function isDeclaredName(node: ts.Identifier): boolean {
  const { parent } = node;
  if (ts.isPropertyAccessExpression(parent))
    return parent.name === node && parent.expression.getText() !== 'globalThis';
  if (ts.isImportSpecifier(parent)) return true;
  return 'name' in parent && parent.name === node && !ts.isShorthandPropertyAssignment(parent);
}

function hasProperty(node: ts.Node | undefined, name: string): boolean {
  if (node === undefined || !ts.isObjectLiteralExpression(node)) return false;
  return node.properties.some((property) => 'name' in property && property.name?.getText() === name);
}

function isEmptyCollection(node: ts.Node): boolean {
  if (ts.isArrayLiteralExpression(node)) return node.elements.length === 0;
  if (ts.isObjectLiteralExpression(node)) return node.properties.length === 0;
  return (
    ts.isNewExpression(node) &&
    /^(Weak)?(Map|Set)$|^Array$/.test(node.expression.getText()) &&
    (node.arguments?.length ?? 0) === 0
  );
}

/** The name of the variable whose content a node changes: `name.set(…)`, `name.x = …`, `name[0] = …`. */
function mutatedName(node: ts.Node): string | undefined {
  if (ts.isCallExpression(node) && ts.isPropertyAccessExpression(node.expression)) {
    return MUTATORS.includes(node.expression.name.text) ? node.expression.expression.getText() : undefined;
  }
  if (!ts.isBinaryExpression(node) || !/^([*/%+-]|\*\*|\?\?|\|\||&&)?=$/.test(node.operatorToken.getText()))
    return undefined;
  const { left } = node;
  return ts.isPropertyAccessExpression(left) || ts.isElementAccessExpression(left)
    ? left.expression.getText()
    : undefined;
}

function has(node: ts.PropertyDeclaration, kind: ts.SyntaxKind): boolean {
  return node.modifiers?.some((modifier) => modifier.kind === kind) ?? false;
}

function areaOf(path: string): string {
  return path.split('/')[0] ?? path;
}

function areaOfNode(node: ts.Node): string {
  return areaOf(node.getSourceFile().fileName.replace(/^\/\d+\//, ''));
}

function lineOf(module: Module, node: ts.Node): number {
  return module.tree.text.slice(0, node.getStart()).split('\n').length;
}
