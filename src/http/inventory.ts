/** Installed components over HTTP. */
import {
  ComponentFilterQuery,
  ComponentPageQuery,
  ComponentSchema,
  ComponentSummarySchema,
  componentDocument,
  readComponentFilter,
} from '../wire/inventory.ts';
import { listOf } from '../wire/schema.ts';
import { listAnswer, operation, param } from './operation.ts';
import { pageRequest } from './page.ts';

const tag = 'inventory';

export const listHostComponents = operation({
  id: 'listHostComponents',
  scoped: true,
  tag,
  summary: 'Components of one host, by its id or name; ordered by name and detector',
  query: ComponentPageQuery,
  answers: { 200: listOf(ComponentSchema) },
  codes: ['not-found'],
  async handle(call) {
    const page = await call.services.components.ofHost(param(call, 'host'), pageRequest(call.query));
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
  async handle({ services, query }) {
    const page = await services.components.list(readComponentFilter(query), pageRequest(query));
    return listAnswer(page, (summary) => summary);
  },
});
