/** Installed components over HTTP. */
import type { ComponentHistoryService } from '../domain/services.ts';
import { HostHistoryStepSchema, stepDocument } from '../wire/host-steps.ts';
import {
  ComponentChangeQuery,
  ComponentDifferenceSchema,
  ComponentFilterQuery,
  ComponentPageQuery,
  ComponentSchema,
  ComponentSummarySchema,
  componentDocument,
  differenceDocument,
  HostHistoryQuery,
  readComponentChanges,
  readComponentFilter,
  readStretch,
} from '../wire/inventory.ts';
import { listOf, readAsOf } from '../wire/schema.ts';
import { type HttpServices, listAnswer, operation, param } from './operation.ts';
import { pageRequest } from './page.ts';

const tag = 'inventory';

export const listHostComponents = operation({
  id: 'listHostComponents',
  scoped: true,
  tag,
  summary: 'Components of one host, by its id or name; ordered by name and detector',
  query: ComponentPageQuery,
  answers: { 200: listOf(ComponentSchema) },
  codes: ['not-found', 'compacted', 'unprocessable'],
  async handle(call) {
    const page = await call.services.components.ofHost(
      param(call, 'host'),
      pageRequest(call.query),
      readAsOf(call.query),
    );
    return listAnswer(page, componentDocument);
  },
});

export const listComponents = operation({
  id: 'listComponents',
  scoped: true,
  tag,
  summary: 'Components over all hosts with their versions; ordered by name',
  query: ComponentFilterQuery,
  answers: { 200: listOf(ComponentSummarySchema) },
  codes: ['compacted', 'unprocessable'],
  async handle({ services, query }) {
    const page = await services.components.list(readComponentFilter(query), pageRequest(query));
    return listAnswer(page, (summary) => summary);
  },
});

export const listComponentChanges = operation({
  id: 'listComponentChanges',
  scoped: true,
  tag,
  summary:
    'What differs between two moments: components that appeared, changed or disappeared; ordered by when hosts joined, then by name and detector',
  query: ComponentChangeQuery,
  answers: { 200: listOf(ComponentDifferenceSchema) },
  codes: ['not-found', 'compacted'],
  async handle(call) {
    const page = await historyOf(call).differences(readComponentChanges(call.query), pageRequest(call.query));
    return listAnswer(page, differenceDocument);
  },
});

export const listHostHistory = operation({
  id: 'listHostHistory',
  scoped: true,
  tag,
  summary:
    'Each change of one host, by its id or name, and of its components between two moments; in the order of time',
  query: HostHistoryQuery,
  answers: { 200: listOf(HostHistoryStepSchema) },
  codes: ['not-found', 'compacted'],
  async handle(call) {
    const page = await historyOf(call).steps(
      param(call, 'host'),
      readStretch(call.query),
      pageRequest(call.query),
    );
    return listAnswer(page, stepDocument);
  },
});

function historyOf({ services }: { readonly services: HttpServices }): ComponentHistoryService {
  if (services.componentHistory === undefined)
    throw new Error('a server has a route of history and no ComponentHistoryService');
  return services.componentHistory;
}
