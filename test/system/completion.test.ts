/** `holdfast completion` in zsh and fish, from Debian's packages: what TAB offers there is asked of the shells themselves. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { completions, offered } from '../cli/completions.ts';
import { cli } from '../cli/harness.ts';
import { installPackages } from '../helpers/debian.ts';
import { tempFolder } from '../helpers/temp.ts';

before(() => installPackages(['zsh', 'fish']));

test('fish offers commands, options, their words and files', async (t) => {
  const home = tempFolder(t);
  const script = join(home, 'holdfast.fish');
  writeFileSync(script, (await cli(['completion', 'fish'])).stdout);
  for (const { line, offers } of completions(tempFolder(t))) {
    const answer = execFileSync(
      'fish',
      ['--no-config', '-c', 'source $argv[1]; complete -C $argv[2]', script, line],
      { env: { HOME: home, PATH: process.env['PATH'] }, encoding: 'utf8' },
    );
    assert.deepEqual(offered(answer.split('\n').map((one) => one.split('\t')[0] ?? '')), offers, line);
  }
});

/** Tells what the completion system finds for a line, in a zsh on a terminal of its own: it completes nowhere else. */
const askZsh = `
zmodload zsh/zpty
zpty z 'PS1= zsh -f -i'
zpty -w z 'PS1= PS2=; stty -echo; zmodload zsh/zle; bindkey "^I" complete-word'
zpty -w z "fpath=($1 \\$fpath); autoload -Uz compinit && compinit -u -D"
zpty -w z "source $1/tell"
zpty -r -m z ignored '*READY*'
zpty -w -n z "$2"$'\\t\\x15'"print DO''NE"$'\\n'
text=
while [[ $text != *DONE* ]] && zpty -r z part; do text+=$part; done
print -r -- $text
zpty -d z
`;

/** `compadd` stands before zsh's own and tells the matches, too. Keys are sent when the line editor reads them. */
const tell = `
compadd() {
  if [[ \${@[1,(i)(-|--)]} == *-(O|A|D)\\ * ]]; then builtin compadd "$@"; return; fi
  local -a matches
  builtin compadd -A matches "$@"
  for match in $matches; do print -r -- "OFFER:$match"; done
  builtin compadd "$@"
}
zle-line-init() { print READY; }
zle -N zle-line-init
`;

test('zsh offers commands, options, their words and files', async (t) => {
  const home = tempFolder(t);
  const functions = join(home, 'functions');
  mkdirSync(functions);
  writeFileSync(join(functions, '_holdfast'), (await cli(['completion', 'zsh'])).stdout);
  writeFileSync(join(functions, 'tell'), tell);
  for (const { line, offers } of completions(tempFolder(t))) {
    const answer = execFileSync('zsh', ['-f', '-c', askZsh, 'zsh', functions, line], {
      env: { HOME: home, PATH: process.env['PATH'], TERM: 'dumb' },
      encoding: 'utf8',
      timeout: 30_000,
    });
    const matches = [...answer.matchAll(/OFFER:(\S*)/g)].map(([, match = '']) => match);
    assert.deepEqual(offered(matches), offers, line);
  }
});
