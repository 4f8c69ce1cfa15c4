/** The bodies of watch messages, on WebSocket and server-sent events alike. FORMATS "Envelope and watch". */
import { type Static, Type } from 'typebox';
import { limits } from '../base/limits.ts';
import type { ChangeEvent, Selection } from '../domain/event.ts';
import type { SnapshotItem } from '../domain/services.ts';
import { nullable, PositionText, strictObject, Uuid } from './schema.ts';

export const watchSubprotocol = 'holdfast.v1';
/** How browsers, which cannot set headers, give a token. */
export const bearerSubprotocolPrefix = 'bearer.';

const list = Type.Array(Type.String({ minLength: 1, maxLength: limits.nameLengthMax }), {
  maxItems: limits.batchItemsMax,
});

export const SelectionSchema = strictObject({
  types: Type.Optional(list),
  hosts: Type.Optional(Type.String({ maxLength: limits.selectorBytes, description: 'A selector' })),
  apps: Type.Optional(list),
  services: Type.Optional(
    strictObject({
      uuid: Type.Optional(Type.Array(Uuid, { maxItems: limits.batchItemsMax })),
      type: Type.Optional(list),
      host: Type.Optional(list),
      region: Type.Optional(list),
    }),
  ),
});

export const WatchSchema = strictObject({
  op: Type.Literal('watch'),
  select: Type.Optional(SelectionSchema),
  since: Type.Optional(nullable(PositionText)),
  snapshot: Type.Optional(Type.Boolean()),
});
export const UnwatchSchema = strictObject({ op: Type.Literal('unwatch') });
export type WatchRequest = Static<typeof WatchSchema> | Static<typeof UnwatchSchema>;

export const EventsQuery = strictObject({
  since: Type.Optional(PositionText),
  snapshot: Type.Optional(Type.Boolean()),
  types: Type.Optional(list),
  hosts: Type.Optional(Type.String({ maxLength: limits.selectorBytes })),
  apps: Type.Optional(list),
  serviceUuid: Type.Optional(Type.Array(Uuid, { maxItems: limits.batchItemsMax })),
  serviceType: Type.Optional(list),
  serviceHost: Type.Optional(list),
  serviceRegion: Type.Optional(list),
});

/**
 * Everything a server says about one subscription. `compacted`, `reset` and `error` end it. `resume` is null when there
 * is no place to resume from, because a snapshot was cut short: ask for a new one.
 */
export type WatchMessage =
  | {
      readonly kind: 'snapshot';
      readonly position: string;
      readonly items: readonly SnapshotItem[];
      readonly done: boolean;
    }
  | { readonly kind: 'events'; readonly position: string; readonly events: readonly ChangeEvent[] }
  | { readonly kind: 'progress'; readonly position: string }
  | { readonly kind: 'compacted'; readonly oldest: string }
  | { readonly kind: 'reset'; readonly epoch: number }
  | { readonly kind: 'closing'; readonly reason: string; readonly resume: string | null }
  | { readonly kind: 'error'; readonly code: string; readonly detail: string };

/** The query of `/v1/events` → the same selection that a WebSocket watch names. */
export function selectionOfQuery(query: Static<typeof EventsQuery>): Selection {
  const { types, hosts, apps, serviceUuid, serviceType, serviceHost, serviceRegion } = query;
  const services = {
    ...(serviceUuid === undefined ? {} : { uuid: serviceUuid }),
    ...(serviceType === undefined ? {} : { type: serviceType }),
    ...(serviceHost === undefined ? {} : { host: serviceHost }),
    ...(serviceRegion === undefined ? {} : { region: serviceRegion }),
  };
  return {
    ...(types === undefined ? {} : { types }),
    ...(hosts === undefined ? {} : { hosts }),
    ...(apps === undefined ? {} : { apps }),
    ...(Object.keys(services).length === 0 ? {} : { services }),
  };
}
