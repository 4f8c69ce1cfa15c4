import assert from 'node:assert/strict';
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { componentsOf, dpkgDetector, parseStanza } from '../../../src/agent/detectors/dpkg.ts';
import { FakeClock } from '../../helpers/clock.ts';
import { tempFolder } from '../../helpers/temp.ts';

const { signal } = new AbortController();

function stanza(fields: Record<string, string>): string {
  return Object.entries(fields)
    .map(([name, value]) => `${name}: ${value}`)
    .join('\n');
}

function installed(name: string, more: Record<string, string> = {}): string {
  return stanza({
    Package: name,
    Status: 'install ok installed',
    Architecture: 'amd64',
    Version: '1.0-1',
    ...more,
  });
}

/** A status file as Debian writes it: 2,000 packages of about a kibibyte. */
function largeStatus(count: number): string {
  const conffiles = Array.from(
    { length: 6 },
    (_, i) => ` /etc/some/file-${i} 0123456789abcdef0123456789abcdef`,
  ).join('\n');
  const stanzas = Array.from({ length: count }, (_, i) =>
    [
      `Package: package-${i}`,
      'Status: install ok installed',
      'Priority: optional',
      'Section: libs',
      `Installed-Size: ${i}`,
      'Maintainer: Somebody With A Name <somebody@lists.example.org>',
      'Architecture: amd64',
      'Multi-Arch: same',
      `Version: 1:${i}.2.3-4+deb12u1`,
      'Depends: libc6 (>= 2.34), libgcc-s1 (>= 3.0), libstdc++6 (>= 11)',
      'Conffiles:',
      conffiles,
      'Description: something that one needs',
      ' A longer text. Version: 9.9 in it is no version.',
      ' .',
      ' Status: install ok installed in it is no status.',
      'Homepage: https://example.org/',
    ].join('\n'),
  );
  return `${stanzas.join('\n\n')}\n`;
}

suite('parseStanza()', () => {
  test('reads an installed package', () => {
    assert.deepEqual(parseStanza(installed('bash')), {
      name: 'bash',
      version: '1.0-1',
      architecture: 'amd64',
    });
  });

  for (const status of [
    'deinstall ok config-files',
    'install ok half-installed',
    'install ok unpacked',
    'install ok half-configured',
    'install ok triggers-awaited',
    'install ok triggers-pending',
    'unknown ok not-installed',
    'purge ok not-installed',
    'installed',
    'installed ok not-installed',
  ]) {
    test(`leaves out a package whose status is "${status}"`, () => {
      assert.equal(parseStanza(installed('bash', { Status: status })), undefined);
    });
  }

  test('takes a held and a broken-but-installed package, and any case and blanks', () => {
    assert.equal(parseStanza(installed('bash', { Status: 'hold ok installed' }))?.name, 'bash');
    assert.equal(parseStanza(installed('bash', { Status: 'install reinstreq installed' }))?.name, 'bash');
    assert.equal(
      parseStanza('PACKAGE:bash\r\nstatus:\tinstall  ok installed \r\nversion:  5.2 \r')?.version,
      '5.2',
    );
  });

  test('is not fooled by what stands in other fields and continuation lines', () => {
    const text = `${installed('real')}\nDescription: x\n Package: fake\n Version: 9\nOriginal-Version: 8\nX-Package: other`;
    assert.deepEqual(parseStanza(text), { name: 'real', version: '1.0-1', architecture: 'amd64' });
  });

  for (const [what, text] of Object.entries({
    'no name': stanza({ Status: 'install ok installed', Version: '1' }),
    'an empty name': installed(''),
    'no version': stanza({ Package: 'a', Status: 'install ok installed' }),
    'an empty version': installed('a', { Version: '' }),
    'a name with blanks': installed('a b'),
    'a name that is too long': installed('a'.repeat(129)),
    'a version that is too long': installed('a', { Version: '1'.repeat(257) }),
    'no fields at all': 'what is this',
    nothing: '',
  })) {
    test(`hides a stanza with ${what}`, () => assert.equal(parseStanza(text), undefined));
  }
});

suite('componentsOf()', () => {
  test('names the architecture only where several of a package are installed', () => {
    const components = componentsOf([
      { name: 'zlib', version: '1', architecture: 'amd64' },
      { name: 'libc6', version: '2', architecture: 'i386' },
      { name: 'libc6', version: '2', architecture: 'amd64' },
      { name: 'doc', version: '3', architecture: 'all' },
      { name: 'odd', version: '4', architecture: '' },
    ]);
    assert.deepEqual(
      components.map(({ name, architecture }) => [name, architecture]),
      [
        ['doc', 'all'],
        ['libc6:amd64', 'amd64'],
        ['libc6:i386', 'i386'],
        ['odd', undefined],
        ['zlib', 'amd64'],
      ],
    );
  });

  test('keeps the last of two stanzas for the same package', () => {
    const twice = ['1', '2'].map((version) => ({ name: 'a', version, architecture: 'amd64' }));
    assert.deepEqual(componentsOf(twice), [
      { name: 'a', version: '2', detector: 'dpkg', architecture: 'amd64' },
    ]);
  });
});

suite('dpkgDetector()', () => {
  test('is off where there is no status file', async (t) => {
    const detector = dpkgDetector({ clock: new FakeClock(), path: join(tempFolder(t), 'status') });
    assert.equal(await detector.detect({ signal }), null);
  });

  test('throws when the status file is there and cannot be read', async (t) => {
    const detector = dpkgDetector({ clock: new FakeClock(), path: tempFolder(t) });
    await assert.rejects(detector.detect({ signal }), { code: 'EISDIR' });
  });

  test('reads 2,000 packages whatever lies between them', async (t) => {
    const path = join(tempFolder(t), 'status');
    const broken = `Package: broken\nStatus: install ok installed\n\n \t\n\n${'x'.repeat(3 * 1024 * 1024)}\n\n`;
    writeFileSync(path, `\n\n${broken}${largeStatus(2_000)}\n\n\n${installed('last', { Version: '7' })}`);
    const components = await dpkgDetector({ clock: new FakeClock(), path }).detect({ signal });
    assert.equal(components?.length, 2_001);
    assert.deepEqual(
      components.find(({ name }) => name === 'package-1999'),
      { name: 'package-1999', version: '1:1999.2.3-4+deb12u1', detector: 'dpkg', architecture: 'amd64' },
    );
    assert.equal(components.find(({ name }) => name === 'last')?.version, '7');
  });

  test('gives the very same array until the file is another one', async (t) => {
    const clock = new FakeClock();
    const path = join(tempFolder(t), 'status');
    writeFileSync(path, installed('a'));
    const detector = dpkgDetector({ clock, path });
    const first = await detector.detect({ signal });
    assert.equal(await detector.detect({ signal }), first);
    // As dpkg does: another file under the same name.
    writeFileSync(`${path}-new`, installed('b'));
    renameSync(`${path}-new`, path);
    const look = detector.detect({ signal });
    await advanceUntil(clock, look);
    assert.deepEqual(
      (await look)?.map(({ name }) => name),
      ['b'],
    );
    rmSync(path);
    assert.equal(await detector.detect({ signal }), null);
  });

  test('waits until a file that is being rewritten has been left alone', async (t) => {
    const clock = new FakeClock();
    const path = join(tempFolder(t), 'status');
    writeFileSync(path, installed('a'));
    const detector = dpkgDetector({ clock, path });
    await detector.detect({ signal });
    writeFileSync(path, installed('half', { Status: 'install ok unpacked' }));
    const look = detector.detect({ signal });
    await sleeping(clock);
    writeFileSync(path, `${installed('half')}\n`);
    await advanceUntil(clock, look);
    assert.deepEqual(
      (await look)?.map(({ name }) => name),
      ['half'],
    );
  });

  test('stops waiting when it is told to', async (t) => {
    const clock = new FakeClock();
    const path = join(tempFolder(t), 'status');
    writeFileSync(path, installed('a'));
    const detector = dpkgDetector({ clock, path });
    await detector.detect({ signal });
    writeFileSync(path, installed('bb'));
    const stopping = new AbortController();
    const look = detector.detect({ signal: stopping.signal });
    await sleeping(clock);
    stopping.abort(new Error('enough'));
    await assert.rejects(look, { message: 'enough' });
    assert.deepEqual(clock.pendingMs, []);
  });
});

/** Until the detector sleeps: it looks at a real file first, which fake time does not wait for. */
async function sleeping(clock: FakeClock): Promise<void> {
  while (clock.pendingMs.length === 0) await clock.settle();
}

async function advanceUntil(clock: FakeClock, work: Promise<unknown>): Promise<void> {
  let done = false;
  const settled = work.then(() => {
    done = true;
  });
  while (!done) {
    await clock.settle();
    const [nextMs] = clock.pendingMs;
    if (nextMs !== undefined) await clock.advance(nextMs);
  }
  await settled;
}
