/** Installed components over the wire: requests as data, and the contracts made of them. */
import { formatMoment, type Moment } from '../domain/moment.ts';
import type {
  AsOf,
  ComponentChangeFilter,
  ComponentFilter,
  ComponentHistoryService,
  ComponentService,
  PageRequest,
  Stretch,
} from '../domain/services.ts';
import { HostHistoryStepSchema, readStep } from '../wire/host-steps.ts';
import {
  ComponentDifferenceSchema,
  ComponentSchema,
  ComponentSummarySchema,
  readComponent,
} from '../wire/inventory.ts';
import { paths } from '../wire/paths.ts';
import { listOf } from '../wire/schema.ts';
import type { Connection } from './connection.ts';
import { readPage } from './page.ts';
import { type ApiRequest, expectBody } from './request.ts';

export const inventoryRequests = {
  ofHost: (idOrName: string, page: Partial<PageRequest>, { asOf }: AsOf = {}) =>
    ({
      method: 'GET',
      path: paths.hostComponents(idOrName),
      query: { asOf: textOf(asOf), ...page },
      answer: expectBody(listOf(ComponentSchema)),
    }) satisfies ApiRequest,
  list: ({ selector, has, asOf }: ComponentFilter, page: Partial<PageRequest>) =>
    ({
      method: 'GET',
      path: paths.components,
      query: {
        selector,
        has: has?.map(({ name, operator, version }) => `${name}${operator}${version}`),
        asOf: textOf(asOf),
        ...page,
      },
      answer: expectBody(listOf(ComponentSummarySchema)),
    }) satisfies ApiRequest,
  differences: ({ from, to, host, selector, name }: ComponentChangeFilter, page: Partial<PageRequest>) =>
    ({
      method: 'GET',
      path: paths.componentHistory,
      query: { from: formatMoment(from), to: textOf(to), host, selector, name, ...page },
      answer: expectBody(listOf(ComponentDifferenceSchema)),
    }) satisfies ApiRequest,
  steps: (idOrName: string, { from, to }: Partial<Stretch>, page: Partial<PageRequest>) =>
    ({
      method: 'GET',
      path: paths.hostHistory(idOrName),
      query: { from: textOf(from), to: textOf(to), ...page },
      answer: expectBody(listOf(HostHistoryStepSchema)),
    }) satisfies ApiRequest,
};

export function createComponents(connection: Connection): ComponentService {
  return {
    async ofHost(idOrName, page, at) {
      return readPage(
        (await connection.call(inventoryRequests.ofHost(idOrName, page, at))).document,
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

export function createComponentHistory(connection: Connection): ComponentHistoryService {
  return {
    async differences(filter, page) {
      return readPage(
        (await connection.call(inventoryRequests.differences(filter, page))).document,
        (difference) => difference,
      );
    },
    async steps(idOrName, stretch, page) {
      return readPage(
        (await connection.call(inventoryRequests.steps(idOrName, stretch, page))).document,
        readStep,
      );
    },
  };
}

function textOf(moment: Moment | undefined): string | undefined {
  return moment === undefined ? undefined : formatMoment(moment);
}
