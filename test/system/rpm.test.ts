/** What the question of the rpm detector gets from a real rpm: packages that are built, installed and broken here. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { rpmDetector } from '../../src/agent/detectors/rpm.ts';
import { rpmQuery } from '../../src/domain/rpm.ts';
import { FakeClock } from '../helpers/clock.ts';
import { tempFolder } from '../helpers/temp.ts';
import { requirePackage } from './packages.ts';

test('rpm: a package shows up with its epoch, a second version of it takes its place, a broken database is an error', async (t) => {
  requirePackage('rpm');
  const folder = tempFolder(t);
  const database = join(folder, 'db');
  const rpm = (program: string, words: readonly string[]) =>
    spawnSync(program, ['--dbpath', database, ...words], {
      encoding: 'utf8',
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: folder, LANG: 'C.UTF-8' },
    });
  const install = (version: string) => {
    const [top, spec] = [join(folder, version), join(folder, `${version}.spec`)];
    const head = `Name: hello\nEpoch: 2\nVersion: ${version}\nRelease: 3\nSummary: x\nLicense: MIT\nBuildArch: noarch\n`;
    writeFileSync(spec, `${head}%description\nx\n%files\n`);
    const built = rpm('rpmbuild', ['-bb', '--define', `_topdir ${top}`, spec]);
    assert.equal(built.status, 0, built.stderr);
    const packages = join(top, 'RPMS/noarch');
    const [file = ''] = readdirSync(packages);
    // Beside the one before, as kernels are.
    const words = ['-i', '--justdb', '--nodeps', '--force', join(packages, file)];
    const installed = rpm('rpm', words);
    assert.equal(installed.status, 0, installed.stderr);
  };
  let questions = 0;
  const clock = new FakeClock();
  const detector = rpmDetector({
    clock,
    folders: [database],
    steps: {
      run: async () => {
        questions += 1;
        const { status, stdout, stderr } = rpm('rpm', rpmQuery.slice(1));
        const end = { kind: 'exited', exitCode: status ?? 1 } as const;
        return { end, stdout, stderr, startedAtMs: 0, durationMs: 1, droppedBytes: 0, adopted: false };
      },
    },
  });
  const look = () => detector.detect({ signal: new AbortController().signal });
  const changed = async () => {
    const looking = look();
    while (clock.pendingMs.length === 0) await clock.settle();
    await clock.advance(3_000);
    return looking;
  };
  assert.equal(await look(), null);
  install('1.4');
  const first = await look();
  assert.deepEqual(first, [{ name: 'hello', version: '2:1.4-3', detector: 'rpm', architecture: 'noarch' }]);
  assert.equal(await look(), first);
  assert.equal(questions, 1, 'to be asked changes nothing that is looked at');
  install('1.5');
  assert.deepEqual(
    (await changed())?.map(({ version }) => version),
    ['2:1.5-3'],
  );
  for (const name of readdirSync(database)) rmSync(join(database, name));
  writeFileSync(join(database, 'rpmdb.sqlite'), 'no database'.repeat(1_000));
  await assert.rejects(changed(), /Cannot tell what rpm has installed/);
});
