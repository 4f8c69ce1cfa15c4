/**
 * Where the single binary begins: runs the bundle, an asset, with V8's code cache, another asset.
 *
 * Node's own `useCodeCache` holds what is compiled before the bundle runs, and that is next to nothing: V8 compiles a
 * function when it is first called. A role starts with a cache of a bundle that has run (warm-up.mjs), which saves a
 * third of its start. Reading that takes 25 ms of CPU, half of what `holdfast --help` needs without: so a command that
 * only asks has the other kind, and so has the runner, which runs little of the bundle (until ready 125 ms of CPU and
 * 63 MiB, against 136 and 71). V8 refuses a cache of another version or other flags and compiles as usual, as it does
 * where there is none (arm64): slower, nothing else.
 */
'use strict';

const { getAssetKeys, getRawAsset } = require('node:sea');
const { debuglog } = require('node:util');
const { Script } = require('node:vm');

const role = ['up', 'registry', 'agent'].includes(process.argv[2]);
const cache = role ? 'warm.cache' : 'cold.cache';
const script = new Script(Buffer.from(getRawAsset('holdfast.cjs')).latin1Slice(), {
  filename: 'holdfast.cjs',
  cachedData: getAssetKeys().includes(cache) ? Buffer.from(getRawAsset(cache)) : undefined,
});
if (script.cachedDataRejected) debuglog('holdfast')('V8 refused the code cache');
// Inside a single binary, this `require` knows Node's own modules only: nothing beside the binary is ever loaded.
script.runInThisContext()(require, module, exports, __filename, __dirname);
