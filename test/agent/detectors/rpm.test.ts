import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { Steps } from '../../../src/agent/checks/step.ts';
import { isRpmThere, rpmDetector } from '../../../src/agent/detectors/rpm.ts';
import { AppError } from '../../../src/domain/error.ts';
import { rpmComponents } from '../../../src/domain/rpm.ts';
import { FakeClock } from '../../helpers/clock.ts';
import { tempFolder } from '../../helpers/temp.ts';
import { exited, type Script, ScriptedRunner } from '../scripted-runner.ts';

const signal = new AbortController().signal;

function setup(t: TestContext) {
  const [folder, clock, runner] = [join(tempFolder(t), 'rpm'), new FakeClock(), new ScriptedRunner()];
  const detector = rpmDetector({ clock, steps: new Steps(runner), folders: [folder, '/nowhere/rpm'] });
  const look = () => detector.detect({ signal });
  return {
    ...{ folder, clock, runner, look },
    write: (file: string, text: string) => {
      mkdirSync(folder, { recursive: true });
      writeFileSync(join(folder, file), text);
    },
    script: (script: Script | AppError) => runner.scripts.set('rpm', script),
  };
}

suite('rpmDetector()', () => {
  test('asks once, and again when the database has changed and is left alone', async (t) => {
    const { write, script, look, runner, clock } = setup(t);
    write('rpmdb.sqlite', 'a');
    script(exited(0, 'bash\t5.1.8-9.el9\tx86_64\t1\n'));
    const first = await look();
    assert.deepEqual(first, [
      { name: 'bash', version: '5.1.8-9.el9', detector: 'rpm', architecture: 'x86_64' },
    ]);
    assert.equal(await look(), first);
    write('rpmdb.sqlite-wal', '');
    assert.equal(await look(), first, 'an empty log is a reader');
    assert.equal(runner.asked.length, 1);
    write('rpmdb.sqlite-wal', 'b');
    script(exited(0, 'bash\t5.1.8-10.el9\tx86_64\t2\n'));
    const second = look();
    while (clock.pendingMs.length === 0) await clock.settle();
    await clock.advance(2_999);
    assert.equal(runner.asked.length, 1);
    await clock.advance(1);
    assert.equal((await second)?.[0]?.version, '5.1.8-10.el9');
    assert.equal(runner.asked.length, 2);
  });

  test('a host without a database, or without rpm, has nothing of rpm, and nobody is asked for the first', async (t) => {
    const { folder, write, script, look, runner } = setup(t);
    assert.equal(isRpmThere([folder]), false);
    assert.equal(await look(), null);
    assert.deepEqual(runner.asked, []);
    write('Packages', 'bdb');
    assert.equal(isRpmThere([folder]), true);
    script(new AppError('unprocessable', 'no rpm', { details: { reason: 'no-program' } }));
    assert.equal(await look(), null);
    rmSync(folder, { recursive: true });
    assert.equal(await look(), null);
  });

  test('a database that rpm cannot read is an error, and never an empty host', async (t) => {
    const { write, script, look } = setup(t);
    write('rpmdb.sqlite', 'corrupt');
    script({ ...exited(0), stderr: 'error: sqlite failure: file is not a database\n' });
    await assert.rejects(look(), {
      message: /rpm reports errors/,
      details: { output: 'error: sqlite failure: file is not a database' },
    });
    script(exited(1));
    await assert.rejects(look(), /exit code 1/);
    script({ ...exited(0, 'bash\t1-1\tx86_64\t1\n'), droppedBytes: 7 });
    await assert.rejects(look(), /7 bytes more than are kept/);
  });
});

suite('rpmComponents()', () => {
  const of = (...lines: string[]) => rpmComponents(`${lines.join('\n')}\n`);

  test('has the epoch where there is one, and leaves out what is no package', () => {
    const found = of(
      'bind\t32:9.16.23-11.el9\tx86_64\t5',
      'gpg-pubkey\tfd431d51-4ae0493b\t(none)\t1',
      'broken',
      '\t1-1\tnoarch\t1',
      'no-release\t1\tnoarch\t1',
      'no-version\t-1\tnoarch\t1',
      'empty-release\t1-\tnoarch\t1',
      'spaced\t1 -1\tnoarch\t1',
    );
    assert.deepEqual(found, [
      { name: 'bind', version: '32:9.16.23-11.el9', detector: 'rpm', architecture: 'x86_64' },
    ]);
    assert.deepEqual(of(''), []);
  });

  test('of several versions of a name the last installed counts; architectures stand apart', () => {
    const found = of(
      'kernel\t5.14.0-70.el9\tx86_64\t300',
      'kernel\t5.14.0-427.el9\tx86_64\t200',
      'same\t1-1\tnoarch\t1',
      'same\t2-1\tnoarch\t1',
      'glibc\t2.34-60.el9\ti686\t1',
      'glibc\t2.34-60.el9\tx86_64\t1',
    );
    assert.deepEqual(
      found.map(({ name, version }) => `${name} ${version}`),
      ['glibc:i686 2.34-60.el9', 'glibc:x86_64 2.34-60.el9', 'kernel 5.14.0-70.el9', 'same 2-1'],
    );
  });
});
