/** What became of hosts, and how many there were, on the wire. */
import { type Static, Type } from 'typebox';
import { limits } from '../base/limits.ts';
import { formatInstant } from '../base/time.ts';
import {
  type HostPoint,
  type HostState,
  type HostStats,
  type HostTurn,
  hostTurnFields,
  hostTurnKinds,
} from '../domain/host-history.ts';
import { formatMoment } from '../domain/moment.ts';
import type { HostChangeFilter, HostStatsQuery } from '../domain/services.ts';
import { HostSchema } from './host.ts';
import { readStretch, stretchQuery } from './inventory.ts';
import {
  Count,
  durationText,
  Instant,
  momentText,
  nullable,
  pageQuery,
  readAge,
  readInstant,
  readSelector,
  SelectorText,
  strictObject,
  Uuid,
  words,
} from './schema.ts';

export const HostChangeQuery = strictObject({
  ...stretchQuery,
  selector: Type.Optional(SelectorText),
  ...pageQuery,
});

export const HostStatsQuerySchema = strictObject({
  within: Type.Optional(durationText('For fresh, stale and created, default 7d')),
  from: Type.Optional(momentText('Where the series begins; without it there is none')),
  to: Type.Optional(momentText('Where the series ends, default now')),
  step: Type.Optional(
    durationText(
      `From one point of the series to the next, default whole hours or days, 24 steps at most; at most ${limits.seriesPointsMax} points`,
    ),
  ),
});

const { name, region, labels, self, status, reason, revokedAt, version } = HostSchema.properties;
/** What of a host may change. */
export const HostStateSchema = strictObject({
  name,
  region,
  labels,
  self,
  status,
  reason,
  revokedAt,
  version,
});

export const HostTurnSchema = strictObject({
  kind: words(hostTurnKinds),
  id: Uuid,
  name,
  changed: Type.Array(words(hostTurnFields)),
  before: nullable(HostStateSchema),
  after: nullable(HostStateSchema),
});

export const HostStatsSchema = strictObject({
  asOf: Instant,
  now: strictObject({
    total: Count,
    up: Count,
    down: Count,
    withinMs: Count,
    fresh: Count,
    stale: Count,
    created: Count,
  }),
  series: Type.Array(
    strictObject({ at: Instant, total: Count, up: Count, down: Count, appeared: Count, disappeared: Count }),
    { description: 'At each point, and who appeared and disappeared since the one before' },
  ),
});

export type HostTurnDocument = Static<typeof HostTurnSchema>;
export type HostStatsDocument = Static<typeof HostStatsSchema>;

export function readHostChanges(query: Static<typeof HostChangeQuery>): HostChangeFilter {
  const { selector } = query;
  return {
    ...readStretch(query),
    ...(selector === undefined ? {} : { selector: readSelector(selector) }),
  };
}

export function readHostStatsQuery(query: Static<typeof HostStatsQuerySchema>): HostStatsQuery {
  const { within, from, to, step } = query;
  return {
    ...(within === undefined ? {} : { withinMs: readAge(within, 'within') }),
    ...(from === undefined ? {} : { stretch: readStretch({ from, ...(to === undefined ? {} : { to }) }) }),
    ...(step === undefined ? {} : { stepMs: readAge(step, 'step') }),
  };
}

/** As a client asks for it. */
export function hostStatsQuery({
  withinMs,
  stretch,
  stepMs,
}: HostStatsQuery): Static<typeof HostStatsQuerySchema> {
  return {
    ...(withinMs === undefined ? {} : { within: `${withinMs / 1_000}s` }),
    ...(stretch === undefined ? {} : { from: formatMoment(stretch.from) }),
    ...(stretch?.to === undefined ? {} : { to: formatMoment(stretch.to) }),
    ...(stepMs === undefined ? {} : { step: `${stepMs / 1_000}s` }),
  };
}

export function hostTurnDocument({ before, after, changed, ...same }: HostTurn): HostTurnDocument {
  return {
    ...same,
    changed: [...changed],
    before: hostStateDocument(before),
    after: hostStateDocument(after),
  };
}

export function hostStatsDocument({ asOfMs, now, series }: HostStats): HostStatsDocument {
  return {
    asOf: formatInstant(asOfMs),
    now: { ...now },
    series: series.map(({ atMs, ...point }) => ({ at: formatInstant(atMs), ...point })),
  };
}

export function readHostStats({ asOf, now, series }: HostStatsDocument): HostStats {
  return {
    asOfMs: readInstant(asOf, 'asOf'),
    now,
    series: series.map(({ at, ...point }): HostPoint => ({ atMs: readInstant(at, 'at'), ...point })),
  };
}

export function hostStateDocument(state: HostState | null): Static<typeof HostStateSchema> | null {
  if (state === null) return null;
  const { name, region, labels, self, status, reason, revokedAtMs, version } = state;
  const revokedAt = revokedAtMs === null ? null : formatInstant(revokedAtMs);
  return { name, region, labels, self, status, reason, revokedAt, version };
}

export function readHostState(document: Static<typeof HostStateSchema> | null): HostState | null {
  if (document === null) return null;
  const { revokedAt, ...same } = document;
  return { ...same, revokedAtMs: revokedAt === null ? null : readInstant(revokedAt, 'revokedAt') };
}
