/** Installed components over the wire: requests as data, and the contract made of them. */
import type { ComponentService, HostSelection, PageRequest } from '../domain/services.ts';
import { ComponentSchema, ComponentSummarySchema, readComponent } from '../wire/inventory.ts';
import { paths } from '../wire/paths.ts';
import { listOf } from '../wire/schema.ts';
import type { Connection } from './connection.ts';
import { readPage } from './page.ts';
import { type ApiRequest, expectBody } from './request.ts';

export const inventoryRequests = {
  ofHost: (idOrName: string, page: Partial<PageRequest>) =>
    ({
      method: 'GET',
      path: paths.hostComponents(idOrName),
      query: { ...page },
      answer: expectBody(listOf(ComponentSchema)),
    }) satisfies ApiRequest,
  list: ({ selector }: HostSelection, page: Partial<PageRequest>) =>
    ({
      method: 'GET',
      path: paths.components,
      query: { selector, ...page },
      answer: expectBody(listOf(ComponentSummarySchema)),
    }) satisfies ApiRequest,
};

export function createComponents(connection: Connection): ComponentService {
  return {
    async ofHost(idOrName, page) {
      return readPage(
        (await connection.call(inventoryRequests.ofHost(idOrName, page))).document,
        readComponent,
      );
    },
    async list(filter, page) {
      return readPage(
        (await connection.call(inventoryRequests.list(filter, page))).document,
        (summary) => summary,
      );
    },
  };
}
