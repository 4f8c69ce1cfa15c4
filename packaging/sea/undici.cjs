'use strict';
/**
 * What is used of undici: a pool, and one connection (which the pool is made of), with the calls that its index adds to
 * every dispatcher. The index itself loads fetch, WebSockets, caches, mocks and proxies as well.
 */
const { setFlagsFromString } = require('node:v8');
const api = require('../../node_modules/undici/lib/api/index.js');
const Client = require('../../node_modules/undici/lib/dispatcher/client.js');
const Dispatcher = require('../../node_modules/undici/lib/dispatcher/dispatcher.js');
const Pool = require('../../node_modules/undici/lib/dispatcher/pool.js');

// Its parser is the only WebAssembly here, and an agent feeds it an answer every few seconds: optimising it took 13 MiB
// of an idle agent. The first flag implies the others only when V8 starts.
for (const flag of ['--liftoff-only', '--no-wasm-tier-up', '--no-wasm-dynamic-tiering'])
  setFlagsFromString(flag);
Object.assign(Dispatcher.prototype, api);
exports.Client = Client;
exports.Pool = Pool;
