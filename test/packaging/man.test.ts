/** The man pages say everything that the tables have, and what they say of agent.yaml is so. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { folded } from '../../packaging/man/command-page.ts';
import { manPages } from '../../packaging/man/pages.ts';
import { Page } from '../../packaging/man/roff.ts';
import {
  allowMembers,
  checkMembers,
  detectorMembers,
  ruleMembers,
  sinkMembers,
  yamlExamples,
} from '../../packaging/man/yaml-page.ts';
import { formatDuration } from '../../src/base/time.ts';
import { describe, withAllBelow } from '../../src/cli/described.ts';
import { exitCodeHelp } from '../../src/cli/exit.ts';
import { wholeProgram } from '../../src/cli/run.ts';
import { settings } from '../../src/cli/settings.ts';
import { knownVariables } from '../../src/cli/variables.ts';
import { readAllow } from '../../src/domain/allow.ts';
import { readChecks } from '../../src/domain/check.ts';
import { readDetectors } from '../../src/domain/detector.ts';
import { readNotify } from '../../src/domain/notify.ts';
import { cli } from '../cli/harness.ts';
import { tempFolder } from '../helpers/temp.ts';

const head = { version: '0.0.0', date: '2026-01-31' };

/** Without fonts and escapes, and with all lines in one: as a reader has it. */
async function read(): Promise<ReadonlyMap<string, string>> {
  const pages = await manPages(head);
  return new Map(
    [...pages].map(([name, text]) => [
      name,
      text
        .replace(/\\f[BIR]/g, '')
        .replace(/\\&/g, '')
        .replace(/\\\[u([0-9A-F]+)\]/g, (_, code: string) => String.fromCodePoint(Number.parseInt(code, 16)))
        .replaceAll('\\(aq', "'")
        .replaceAll('\\(dq', '"')
        .replaceAll('\\(ti', '~')
        .replaceAll('\\(ha', '^')
        .replaceAll('\\-', '-')
        .replaceAll('\\e', '\\')
        .replaceAll('\n', ' '),
    ]),
  );
}

test('manPages() have a page for each command, with its words, options and examples', async () => {
  const pages = await read();
  const program = describe(await wholeProgram());
  for (const command of program.commands) {
    const [name = ''] = command.path;
    const found = [...pages].find(([file]) => /^holdfast-(.*)\.[18]$/.exec(file)?.[1] === name);
    assert.ok(found !== undefined, name);
    const [file, text] = found;
    assert.ok(pages.get('holdfast.1')?.includes(`holdfast-${name}(${file.at(-1)})`), name);
    for (const { path, description, options, arguments: values, examples } of withAllBelow(command)) {
      const where = `${file}: ${path.join(' ')}`;
      for (const line of description.split('\n')) assert.ok(text.includes(line), where);
      for (const { long, help } of options) {
        assert.ok(text.includes(long), `${where} ${long}`);
        assert.ok(text.includes(help), `${where} ${long}`);
      }
      for (const { help } of values) assert.ok(text.includes(help), where);
      // A group's examples are those of its commands.
      for (const line of examples)
        assert.ok(text.includes(folded(`holdfast ${line}`).join(' ')), `${where}: ${line}`);
    }
  }
});

test('manPages() have the program’s page with exit codes and every variable of clients, and that of the files with every key', async () => {
  const pages = await read();
  const [main = '', yaml = ''] = [pages.get('holdfast.1'), pages.get('holdfast.yaml.5')];
  for (const [code, words] of Object.entries(exitCodeHelp))
    assert.ok(main.includes(`.TP ${code} ${words}.`), code);
  const ofSettings = new Set<string>(Object.values(settings).flatMap(({ env }) => env ?? []));
  for (const variable of knownVariables())
    if (!ofSettings.has(variable)) assert.ok(main.includes(`.TP ${variable} `), variable);
  for (const { key, help } of Object.values(settings)) {
    if (key === null) continue;
    assert.ok(yaml.includes(`.TP ${key}: `), key);
    assert.ok(yaml.includes(help), key);
  }
});

test('what holdfast.yaml(5) says of checks, detectors, allow and notify is what is read', () => {
  const [check] = readChecks([{ type: 'web', http: 'http://127.0.0.1/' }]);
  assert.ok(check?.probe.kind === 'http');
  const [exec] = readChecks([{ type: 'web', exec: ['/bin/true'] }]);
  assert.deepEqual(exec?.probe, { kind: 'exec', command: ['/bin/true'], user: null });
  assert.deepEqual(
    ['every', 'timeout', 'failAfter', 'passAfter', 'status'].map((name) => checkMembers[name]?.default),
    [
      formatDuration(check.everyMs),
      formatDuration(check.timeoutMs),
      String(check.failAfter),
      String(check.passAfter),
      check.probe.status.map((range) => range.join('-')).join(),
    ],
  );
  const [detector] = readDetectors([{ command: ['/x'], match: '(?<version>.)', component: 'x' }]);
  assert.ok(detector?.kind === 'command');
  assert.deepEqual(
    ['every', 'timeout'].map((name) => detectorMembers[name]?.default),
    [formatDuration(detector.everyMs), formatDuration(detector.timeoutMs)],
  );
  const { sinks, rules } = readNotify({
    sinks: { a: { webhook: 'https://x.example' } },
    rules: [{ to: 'a' }],
  });
  assert.equal(sinkMembers['timeout']?.default, formatDuration(sinks[0]?.timeoutMs ?? 0));
  assert.deepEqual(
    ['groupWait', 'repeatAfter'].map((name) => ruleMembers[name]?.default),
    [formatDuration(rules[0]?.groupWaitMs ?? 0), formatDuration(rules[0]?.repeatAfterMs ?? 0)],
  );
  // Each reader lists what it knows when it meets what it does not.
  const known = (readIt: () => unknown) => {
    try {
      readIt();
    } catch (error) {
      return (error as Error).message;
    }
    return assert.fail('it was read');
  };
  for (const [members, message] of [
    [checkMembers, known(() => readChecks([{ zzzzzz: 1 }]))],
    [detectorMembers, known(() => readDetectors([{ zzzzzz: 1 }]))],
    [allowMembers, known(() => readAllow({ zzzzzz: 1 }))],
    [sinkMembers, known(() => readNotify({ sinks: { a: { zzzzzz: 1 } } }))],
    [ruleMembers, known(() => readNotify({ rules: [{ zzzzzz: 1 }] }))],
  ] as const) {
    const names = / (?:knows|has|expected) (?:one of )?([\w, ]+)$/.exec(message)?.[1]?.split(', ').sort();
    assert.deepEqual(Object.keys(members).sort(), names, message);
  }
});

test('the files on the page of holdfast.yaml are read whole', async (t) => {
  const folder = tempFolder(t);
  for (const role of ['agent', 'registry'] as const) {
    const file = join(folder, `${role}.yaml`);
    writeFileSync(file, yamlExamples[role]);
    const { code, stderr } = await cli(['config', 'print', role, '--config', file]);
    assert.equal(code, 0, stderr);
  }
});

test('units name the pages of their commands', async () => {
  const commands = describe(await wholeProgram()).commands.map(({ path: [name = ''] }) => name);
  const pages = await manPages(head);
  const folder = join(import.meta.dirname, '../../packaging/systemd');
  for (const command of commands) {
    const file = join(folder, `holdfast-${command}.service`);
    if (!existsSync(file)) continue;
    const [, name, section] = /^Documentation=man:(\S+)\((\d)\)/m.exec(readFileSync(file, 'utf8')) ?? [];
    assert.equal(name, `holdfast-${command}`);
    assert.ok(pages.has(`${name}.${section}`), `${name}(${section})`);
  }
});

test('Page takes nothing of a text for a request or an escape', () => {
  const text = new Page({ name: 'x', section: 1, ...head })
    .section('it\'s "x"')
    .paragraphs(".br is text\n'so is this. And \\fBthis\\fR, and `that`")
    .example(['.PP', 'a\\n --b'])
    .text();
  assert.equal(
    text,
    [
      '.TH "X" 1 "2026-01-31" "holdfast 0.0.0" "Holdfast"',
      '.SH "IT\\(aqS \\(dqX\\(dq"',
      '.nh',
      '.ad l',
      '\\&.br is text',
      '.PP',
      '\\(aqso is this.',
      'And \\efBthis\\efR, and \\(gathat\\(ga',
      '.PP',
      '.RS 4',
      '.EX',
      '\\&.PP',
      'a\\en \\-\\-b',
      '.EE',
      '.RE',
      '',
    ].join('\n'),
  );
});
