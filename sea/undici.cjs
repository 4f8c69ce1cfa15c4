'use strict';
/**
 * What the client takes of undici: a pool, with the calls that its index adds to every dispatcher. The index itself
 * loads fetch, WebSockets, caches, mocks and proxies as well.
 */
const api = require('../node_modules/undici/lib/api/index.js');
const Dispatcher = require('../node_modules/undici/lib/dispatcher/dispatcher.js');
const Pool = require('../node_modules/undici/lib/dispatcher/pool.js');

Object.assign(Dispatcher.prototype, api);
exports.Pool = Pool;
