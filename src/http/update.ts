/** What is out of date, over HTTP. */
import type { UpdatePage, UpdateService } from '../domain/services.ts';
import {
  ComponentUpdatesSchema,
  componentUpdatesDocument,
  readUpdateFilter,
  UpdateQuery,
  UpdateSchema,
  updateDocument,
  updateListOf,
} from '../wire/update.ts';
import { type Answer, type HttpServices, listAnswer, ok, operation } from './operation.ts';
import { pageRequest } from './page.ts';

const tag = 'inventory';

export const listUpdates = operation({
  id: 'listUpdates',
  scoped: true,
  tag,
  summary:
    'What is out of date, one item for each host and component; ordered by component, detector, version, since when it is there, host number',
  query: UpdateQuery,
  answers: { 200: updateListOf(UpdateSchema) },
  codes: ['not-found'],
  async handle({ services, query }) {
    const page = await updatesOf(services).list(readUpdateFilter(query), pageRequest(query));
    return answer(page, updateDocument);
  },
});

export const listComponentUpdates = operation({
  id: 'listComponentUpdates',
  scoped: true,
  tag,
  summary: 'Components that are out of date somewhere, with how many hosts; ordered by name, detector, train',
  query: UpdateQuery,
  answers: { 200: updateListOf(ComponentUpdatesSchema) },
  codes: ['not-found'],
  async handle({ services, query }) {
    const page = await updatesOf(services).byComponent(readUpdateFilter(query), pageRequest(query));
    return answer(page, componentUpdatesDocument);
  },
});

function answer<T>(page: UpdatePage<T>, document: (item: T) => unknown): Answer {
  const list = listAnswer(page, document);
  if (list.kind !== 'json') throw new Error('a list is answered as JSON');
  return ok({ ...(list.body as object), unknown: page.unknown });
}

function updatesOf({ updates }: HttpServices): UpdateService {
  if (updates === undefined) throw new Error('a server has a route of updates and no UpdateService');
  return updates;
}
