/** Rules and sinks on the wire. */
import { type Static, Type } from 'typebox';
import { limits } from '../base/limits.ts';
import { formatInstant, parseInstant } from '../base/time.ts';
import { groupKeys, type NotifyView, type SinkTest } from '../domain/notify.ts';
import { sinkKinds } from '../domain/sinks.ts';
import { Count, Instant, nullable, PositionText, strictObject, words } from './schema.ts';

const Name = Type.String({ minLength: 1, maxLength: limits.wordLengthMax });
const Words = Type.Array(Type.String());

const SelectSchema = strictObject({
  types: Type.Optional(Words),
  hosts: Type.Optional(Type.String()),
  apps: Type.Optional(Words),
  services: Type.Optional(
    strictObject({
      uuid: Type.Optional(Words),
      type: Type.Optional(Words),
      host: Type.Optional(Words),
      region: Type.Optional(Words),
    }),
  ),
});

const RuleSchema = strictObject({
  name: Name,
  select: SelectSchema,
  to: Type.Array(Name),
  groupBy: Type.Array(words(groupKeys)),
  groupWaitMs: Count,
  repeatAfterMs: Count,
});

const SinkSchema = strictObject({
  name: Name,
  kind: words(sinkKinds),
  target: Type.String({ description: 'Where it is, without what may be secret' }),
  position: nullable(PositionText),
  behind: Type.Integer({ minimum: 0, description: 'Revisions that it was not told of yet' }),
  waiting: Type.Integer({ minimum: 0, description: 'Messages on their way to it' }),
  delivered: Count,
  failed: Count,
  dropped: Type.Integer({ minimum: 0, description: 'Messages that it refused for good' }),
  missed: Type.Integer({ minimum: 0, description: 'Revisions that the log forgot before it was told' }),
  lastSuccess: nullable(Instant),
  lastError: nullable(strictObject({ at: Instant, detail: Type.String() })),
  retryAt: nullable(Instant),
});

export const NotifySchema = strictObject({
  rules: Type.Array(RuleSchema),
  sinks: Type.Array(SinkSchema),
});
export type NotifyDocument = Static<typeof NotifySchema>;

export const NotifyTestBody = strictObject({
  sinks: Type.Optional(
    Type.Array(Name, {
      minItems: 1,
      maxItems: limits.notifySinksMax,
      description: 'Names of sinks; all when absent',
    }),
  ),
});

export const NotifyTestSchema = strictObject({
  items: Type.Array(
    strictObject({
      sink: Name,
      ok: Type.Boolean(),
      detail: Type.String({ description: 'What the other side answered, or why it could not' }),
      durationMs: Count,
    }),
  ),
});
export type NotifyTestDocument = { readonly items: readonly SinkTest[] };

export function notifyDocument({ rules, sinks }: NotifyView): NotifyDocument {
  return {
    rules: rules.map(({ name, select, to, groupBy, groupWaitMs, repeatAfterMs }) => ({
      ...{ name, groupWaitMs, repeatAfterMs },
      select: select as NotifyDocument['rules'][number]['select'],
      to: [...to],
      groupBy: [...groupBy],
    })),
    sinks: sinks.map(({ lastSuccessMs, lastError, retryAtMs, ...same }) => ({
      ...same,
      lastSuccess: instantOf(lastSuccessMs),
      lastError: lastError === null ? null : { at: formatInstant(lastError.atMs), detail: lastError.detail },
      retryAt: instantOf(retryAtMs),
    })),
  };
}

export function readNotifyView({ rules, sinks }: NotifyDocument): NotifyView {
  return {
    rules: rules as NotifyView['rules'],
    sinks: sinks.map(({ lastSuccess, lastError, retryAt, ...same }) => ({
      ...same,
      lastSuccessMs: msOf(lastSuccess),
      lastError: lastError === null ? null : { atMs: msOf(lastError.at) ?? 0, detail: lastError.detail },
      retryAtMs: msOf(retryAt),
    })),
  };
}

function instantOf(ms: number | null): string | null {
  return ms === null ? null : formatInstant(ms);
}

function msOf(text: string | null): number | null {
  return text === null ? null : (parseInstant(text) ?? null);
}
