/**
 * Makes V8's code caches of the bundle: `node warm-up.mjs bundle.cjs addon.node cold.cache warm.cache`, before it has
 * run and after.
 *
 * A cache holds the functions that V8 has compiled, so the bundle really runs: `holdfast up` in a folder of its own
 * and on free ports, until the agent has joined and answered, then whatever an idle host is asked. It has to be the
 * very Node of the binary, without flags.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as turn } from 'node:timers/promises';
import { Script } from 'node:vm';

const [bundle, addon, cold, warm] = process.argv.slice(2);
const require = createRequire(import.meta.url);
/** The whole of it takes about a second. */
const limitMs = 15_000;

const folder = mkdtempSync(join(tmpdir(), 'holdfast-warm-up-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
setTimeout(() => fail(new Error(`it did not come up within ${limitMs / 1_000} s`)), limitMs).unref();

// What main.ts sees of the outside: nothing of whoever builds.
process.env = { HOME: folder };
process.argv = [
  process.execPath,
  process.execPath,
  ...['up', '--data-dir', folder, '--log-level', 'error'],
  ...['--registry-listen', '127.0.0.1:0', '--agent-listen', '127.0.0.1:0'],
];
const script = new Script(readFileSync(bundle, 'latin1'), { filename: 'holdfast.cjs' });
writeFileSync(cold, script.createCachedData());
const ready = readyLines();
const module = { exports: {} };
script.runInThisContext()(requireInside, module, module.exports, bundle, folder);
try {
  const { registry, agent } = await ready;
  await visit(registry, agent);
  writeFileSync(warm, script.createCachedData());
  process.kill(process.pid, 'SIGTERM');
} catch (error) {
  fail(error);
}

/** What hosts and people ask first, of both: so the first answer after a start is not the slow one. */
async function visit(registry, agent) {
  const token = readFileSync(join(registry.dataDir, 'admin.token'), 'utf8').trim();
  const ownToken = readFileSync(join(agent.dataDir, 'admin.token'), 'utf8').trim();
  const { name } = (await call(agent.url, ownToken, 'GET', '/v1/status')).host;
  const service = '/v1/services/00000000-0000-7000-8000-000000000000';
  for (const [url, bearer, host] of [
    [registry.url, token, 'somewhere'],
    [agent.url, ownToken, name],
  ]) {
    const ask = (method, path, body) => call(url, bearer, method, path, body);
    await ask('PUT', service, { type: 'web', host, ttl: 60, status: 'UP' });
    await ask('POST', `${service}/heartbeat`, {});
    await ask('GET', `/v1/is-up?type=web&host=${host}`);
    await ask('DELETE', service);
    await ask('GET', '/readyz');
  }
  // Joined, and what it found has arrived.
  while (!(await call(agent.url, ownToken, 'GET', '/v1/status')).inventory.acknowledged) await turn(20);
}

async function call(url, token, method, path, body) {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  const response = await fetch(url + path, { method, headers, ...(body && { body: JSON.stringify(body) }) });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return text === '' ? null : JSON.parse(text);
}

/** `require` as in the binary, with its assets. */
function requireInside(id) {
  switch (id) {
    case 'node:sea':
      return { isSea: () => true, getRawAsset: () => readFileSync(addon) };
    case 'node:v8':
      // A cache is good for the flags under which it is made, and a start has none yet when it takes it.
      return { ...require(id), setFlagsFromString: () => {} };
    default:
      return require(id);
  }
}

/** Resolves with the ready line of each role, and keeps them from stdout. */
function readyLines() {
  const found = {};
  return new Promise((resolve) => {
    process.stdout.write = (text) => {
      const line = JSON.parse(text);
      found[line.ready] = line;
      if (found.registry !== undefined && found.agent !== undefined) resolve(found);
      return true;
    };
  });
}

function fail(error) {
  process.stderr.write(`Cannot warm up: ${error.stack}\n`);
  process.exit(1);
}
