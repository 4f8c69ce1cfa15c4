/** What became of hosts, and how many there were, over HTTP. */
import type { HostHistoryService } from '../domain/services.ts';
import {
  HostChangeQuery,
  HostStatsQuerySchema,
  HostStatsSchema,
  HostTurnSchema,
  hostStatsDocument,
  hostTurnDocument,
  readHostChanges,
  readHostStatsQuery,
} from '../wire/host-history.ts';
import { listOf } from '../wire/schema.ts';
import { type HttpServices, listAnswer, ok, operation } from './operation.ts';
import { pageRequest } from './page.ts';

const tag = 'hosts';

export const listHostChanges = operation({
  id: 'listHostChanges',
  scoped: true,
  tag,
  summary: 'What differs between two moments: hosts that appeared, changed or disappeared; ordered by name',
  query: HostChangeQuery,
  answers: { 200: listOf(HostTurnSchema) },
  codes: ['compacted'],
  async handle({ services, query }) {
    const page = await historyOf(services).differences(readHostChanges(query), pageRequest(query));
    return listAnswer(page, hostTurnDocument);
  },
});

export const getHostStats = operation({
  id: 'getHostStats',
  tag,
  summary: 'How many hosts there are, were seen lately or not, and with from: how many there were when',
  query: HostStatsQuerySchema,
  answers: { 200: HostStatsSchema },
  codes: ['compacted'],
  async handle({ services, query }) {
    return ok(hostStatsDocument(await historyOf(services).stats(readHostStatsQuery(query))));
  },
});

function historyOf({ hostHistory }: HttpServices): HostHistoryService {
  if (hostHistory === undefined) throw new Error('a server has a route of history and no HostHistoryService');
  return hostHistory;
}
