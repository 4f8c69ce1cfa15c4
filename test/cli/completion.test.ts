/** `holdfast completion` in bash, which is everywhere; zsh and fish: test/system/completion.test.ts. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { describe, withAllBelow } from '../../src/cli/described.ts';
import { wholeProgram } from '../../src/cli/run.ts';
import { tempFolder } from '../helpers/temp.ts';
import { completions, offered } from './completions.ts';
import { cli } from './harness.ts';

const shells = ['bash', 'zsh', 'fish'] as const;

test('describe() tells every command of the table with words, and its options by what follows them', async () => {
  const program = describe(await wholeProgram());
  const all = withAllBelow(program);
  const at = (path: string) => all.find((one) => one.path.join(' ') === path);
  assert.ok(all.length > 30, `${all.length}`);
  for (const { path, summary, description, examples } of all.slice(1)) {
    assert.notEqual(summary, '', path.join(' '));
    // A line break in it begins a paragraph, in help and on man pages.
    for (const line of description.split('\n')) assert.match(line, /\S.*[.!:)]$/, path.join(' '));
    assert.notEqual(examples.length, 0, path.join(' '));
  }
  const kinds = (path: string) =>
    Object.fromEntries(at(path)?.options.map(({ long, value }) => [long, value?.kind ?? null]) ?? []);
  assert.deepEqual(
    [kinds('agent')['--data-dir'], kinds('agent')['--config'], kinds('agent')['--name']],
    ['folder', 'file', 'word'],
  );
  assert.equal(kinds('registry')['--behind-proxy'], null);
  assert.deepEqual(at('registry rotate')?.arguments[0]?.value.choices, ['signing-key', 'ca', 'certificate']);
  assert.equal(at('hosts')?.standsFor, at('hosts ls'));
  assert.equal(at('registry')?.standsFor, null);
});

test('no option is a switch in one command and has a value in another: scripts take it for the same', async () => {
  const seen = new Map<string, string>();
  for (const { path, options } of withAllBelow(describe(await wholeProgram()))) {
    for (const { long, short, value } of options) {
      const how = `${value === null ? 'a switch' : 'with a value'}`;
      for (const name of short === null ? [long] : [long, short]) {
        assert.equal(how, seen.get(name) ?? how, `${name} of ${path.join(' ')}`);
        seen.set(name, how);
      }
    }
  }
});

test('completion writes a script for each shell, and knows no other', async () => {
  const names = withAllBelow(describe(await wholeProgram())).flatMap(({ path, options }) => [
    ...path.slice(-1),
    ...options.map(({ long }) => long.slice(2)),
  ]);
  for (const shell of shells) {
    const { code, stdout, stderr } = await cli(['completion', shell]);
    assert.deepEqual([code, stderr], [0, '']);
    for (const name of names) assert.ok(stdout.includes(name), `${shell}: ${name}`);
  }
  const { code, stderr } = await cli(['completion', 'csh']);
  assert.equal(code, 2);
  assert.match(stderr, /Cannot use "csh" for <shell>: expected one of bash, zsh, fish/);
});

test('bash offers commands, options, their words and files', async (t) => {
  const { stdout: script } = await cli(['completion', 'bash']);
  // As readline splits a line: "=" and ":" are words by themselves.
  const ask = `${script}
    line=$1
    line=\${line//=/ = }
    read -ra COMP_WORDS <<< "\${line//:/ : }"
    if [[ $line == *' ' ]]; then COMP_WORDS+=(''); fi
    COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
    _holdfast
    printf '%s\\n' "\${COMPREPLY[@]}"`;
  for (const { line, offers } of completions(tempFolder(t))) {
    const answer = execFileSync('bash', ['--norc', '-c', ask, 'bash', line], { encoding: 'utf8' });
    assert.deepEqual(offered(answer.split('\n')), offers, line);
  }
});
