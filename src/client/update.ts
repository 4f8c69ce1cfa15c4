/** What is out of date, over the wire: requests as data, and the contract made of them. */
import type { PageRequest, UpdateFilter, UpdateService } from '../domain/services.ts';
import { paths } from '../wire/paths.ts';
import { asOfText } from '../wire/schema.ts';
import {
  ComponentUpdatesSchema,
  readComponentUpdates,
  readUpdate,
  UpdateSchema,
  updateListOf,
} from '../wire/update.ts';
import type { Connection } from './connection.ts';
import { readPage } from './page.ts';
import { type ApiRequest, expectBody } from './request.ts';

export const updateRequests = {
  list: (filter: UpdateFilter, page: Partial<PageRequest>) =>
    ({
      method: 'GET',
      path: paths.updates,
      query: queryOf(filter, page),
      answer: expectBody(updateListOf(UpdateSchema)),
    }) satisfies ApiRequest,
  byComponent: (filter: UpdateFilter, page: Partial<PageRequest>) =>
    ({
      method: 'GET',
      path: paths.componentUpdates,
      query: queryOf(filter, page),
      answer: expectBody(updateListOf(ComponentUpdatesSchema)),
    }) satisfies ApiRequest,
};

function queryOf(filter: UpdateFilter, page: Partial<PageRequest>) {
  const { host, selector, component, order } = filter;
  return { host, selector, component, order, ...asOfText(filter), ...page };
}

export function createUpdates(connection: Connection): UpdateService {
  return {
    async list(filter, page) {
      const { document } = await connection.call(updateRequests.list(filter, page));
      return { ...readPage(document, readUpdate), unknown: document.unknown };
    },
    async byComponent(filter, page) {
      const { document } = await connection.call(updateRequests.byComponent(filter, page));
      return { ...readPage(document, readComponentUpdates), unknown: document.unknown };
    },
  };
}
