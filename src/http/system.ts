/** The role itself over HTTP: status, effective configuration, backup. */
import { Type } from 'typebox';
import { AppError } from '../domain/error.ts';
import { Count, strictObject } from '../wire/schema.ts';
import { ok, operation, tagged } from './operation.ts';

const tag = 'system';

export const getStatus = operation({
  id: 'getStatus',
  tag,
  summary: 'What this agent or registry is doing',
  answers: { 200: Type.Object({}, { description: 'Depends on the role; fields are added' }) },
  async handle({ services, caller }) {
    return ok(await services.status(caller));
  },
});

export const getConfig = operation({
  id: 'getConfig',
  tag,
  summary: 'The effective configuration and its version',
  answers: { 200: strictObject({ version: Count, config: Type.Object({}) }) },
  async handle({ services }) {
    return tagged(await services.config());
  },
});

export const getBackup = operation({
  id: 'getBackup',
  tag,
  summary: 'A consistent copy of the store, as one SQLite file',
  answers: { 200: 'application/vnd.sqlite3' },
  codes: ['unprocessable'],
  streams: true,
  async handle({ services }) {
    if (services.backup === undefined)
      throw new AppError('unprocessable', 'Cannot back up: this store makes no copies of itself');
    return { kind: 'stream', type: 'application/vnd.sqlite3', stream: await services.backup() };
  },
});
