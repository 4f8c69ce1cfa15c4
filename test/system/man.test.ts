/** The man pages in the programs that read them: mandoc's own checks, and groff behind man. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { manPages } from '../../packaging/man/pages.ts';
import { installPackages } from '../helpers/debian.ts';
import { tempFolder } from '../helpers/temp.ts';

before(() => installPackages(['mandoc', 'man-db']));

function lint(file: string): string {
  const { stdout, stderr } = spawnSync('mandoc', ['-T', 'lint', '-W', 'all', file], { encoding: 'utf8' });
  return `${stdout}${stderr}`;
}

test('mandoc finds something wrong where there is something wrong', (t) => {
  const file = join(tempFolder(t), 'x.1');
  writeFileSync(file, '.TH X 1\n.SS nowhere\n.nosuch\n');
  assert.match(lint(file), /nosuch/);
});

test('mandoc and man find nothing wrong with any page, and no line of them is wider than 80 columns', async (t) => {
  const folder = tempFolder(t);
  const pages = await manPages({ version: '0.0.0', date: '2026-01-31' });
  assert.ok(pages.size > 15);
  for (const [name, text] of pages) {
    const file = join(folder, name);
    writeFileSync(file, text);
    assert.equal(lint(file), '', name);
    const { status, stdout, stderr } = spawnSync('man', ['--warnings', '--local-file', file], {
      env: {
        PATH: process.env['PATH'],
        HOME: folder,
        LC_ALL: 'C.UTF-8',
        MANWIDTH: '80',
        MAN_KEEP_FORMATTING: '',
      },
      encoding: 'utf8',
    });
    assert.deepEqual([status, stderr], [0, ''], name);
    assert.match(stdout, /^SEE ALSO$/m, name);
    for (const line of stdout.split('\n')) {
      assert.ok(line.length <= 80, `${name}: ${line}`);
      // A hyphen of typography, or a request that roff took for text.
      assert.doesNotMatch(line, /\u2010|(^|\s)\.([A-Z]{2}|br)\b/u, name);
    }
  }
});
