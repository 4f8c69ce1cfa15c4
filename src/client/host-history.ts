/** What became of hosts over the wire, as requests. */
import { formatMoment } from '../domain/moment.ts';
import type { HostChangeFilter, HostStatsQuery, PageRequest } from '../domain/services.ts';
import { HostStatsSchema, HostTurnSchema, hostStatsQuery } from '../wire/host-history.ts';
import { paths } from '../wire/paths.ts';
import { listOf } from '../wire/schema.ts';
import { type ApiRequest, expectBody } from './request.ts';

export const hostHistoryRequests = {
  differences: ({ from, to, selector }: HostChangeFilter, page: Partial<PageRequest>) =>
    ({
      method: 'GET',
      path: paths.hostsHistory,
      query: {
        from: formatMoment(from),
        ...(to === undefined ? {} : { to: formatMoment(to) }),
        ...(selector === undefined ? {} : { selector }),
        ...page,
      },
      answer: expectBody(listOf(HostTurnSchema)),
    }) satisfies ApiRequest,
  stats: (query: HostStatsQuery) =>
    ({
      method: 'GET',
      path: paths.hostStats,
      query: hostStatsQuery(query),
      answer: expectBody(HostStatsSchema),
    }) satisfies ApiRequest,
};
