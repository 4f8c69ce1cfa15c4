/** Pieces that several schemas share. One TypeBox schema validates, types and documents (OpenAPI 3.1) a body. */
import { type TProperties, type TSchema, Type } from 'typebox';
import { limits } from '../base/limits.ts';
import { parseDuration, parseInstant } from '../base/time.ts';
import { AppError } from '../domain/error.ts';
import { formatMoment, type Moment, parseMoment } from '../domain/moment.ts';
import { formatSelector, parseSelector } from '../domain/selector.ts';

/** An object whose unknown fields are refused by name. */
export function strictObject<T extends TProperties>(properties: T, options: { description?: string } = {}) {
  return Type.Object(properties, { additionalProperties: false, ...options });
}

export function nullable<T extends TSchema>(schema: T) {
  return Type.Union([schema, Type.Null()]);
}

/** One of a closed list of words. */
export function words<const T extends readonly string[]>(list: T, options: { description?: string } = {}) {
  return Type.Unsafe<T[number]>({ type: 'string', enum: [...list], ...options });
}

export const Uuid = Type.String({ maxLength: 64, description: 'UUID; dashes and case are free on input' });
export const Instant = Type.String({ maxLength: 64, description: 'RFC 3339 with a zone' });
export const Duration = Type.Union([Type.Number(), Type.String({ maxLength: 32 })], {
  description: 'Seconds, or 500ms 30s 5m 2h 1d 1w',
});
const momentWords = 'RFC 3339 with a zone, or how long ago: 30m 12h 7d 4w';

/** As `readMoment` reads it; `what` says of what. */
export function momentText(what: string) {
  return Type.String({ minLength: 1, maxLength: 64, description: `${what}: ${momentWords}` });
}

/** As `readAge` reads it; `what` says of what. */
export function durationText(what: string) {
  return Type.String({ minLength: 1, maxLength: 32, description: `${what}: 30m 12h 7d 4w` });
}

/** Of queries about the past. */
export const asOfQuery = { asOf: Type.Optional(momentText('Answer as it was known then')) };
export const Digest = Type.String({
  pattern: '^sha256:[0-9a-f]{64}$',
  description: 'sha256: and 64 hexadecimal digits',
});
export const PositionText = Type.String({ maxLength: 40, description: '<epoch>.<revision>' });
const count = { minimum: 0, maximum: Number.MAX_SAFE_INTEGER };
export const Count = Type.Integer(count);

export const MarkSchema = strictObject({ epoch: Count, revision: Count, hash: Digest });

export const pageQuery = {
  limit: Type.Optional(
    Type.Integer({ minimum: 1, maximum: limits.listMax, description: `Default ${limits.listDefaultMax}` }),
  ),
  cursor: Type.Optional(Type.String({ maxLength: 2_048, description: 'Opaque: `next` of the page before' })),
};

export const SelectorText = Type.String({
  minLength: 1,
  maxLength: limits.selectorBytes,
  description: 'A selector over hosts: env=prod,tier in (web,db)',
});

/** A list as FORMATS describes it. */
export function listOf<T extends TSchema>(items: T) {
  return strictObject({
    items: Type.Array(items),
    next: nullable(Type.String()),
    asOf: Instant,
    position: nullable(PositionText),
    stale: Type.Boolean(),
  });
}

/** A query parameter that may be repeated. */
export function repeatable<T extends TSchema>(schema: T, maxItems = 100) {
  return Type.Optional(Type.Array(schema, { maxItems }));
}

/** A selector in its normal form; `bad-request` naming `field` for what is none. */
export function readSelector(text: string, field = 'selector'): string {
  return formatSelector(parseSelector(text, field));
}

export function readInstant(text: string, field: string): number {
  const ms = parseInstant(text);
  if (ms !== undefined) return ms;
  throw new AppError(
    'bad-request',
    `Cannot read ${field} "${text}": expected RFC 3339 with a zone, such as 2026-01-31T09:30:00Z`,
    { field },
  );
}

export function readDuration(value: string | number, field: string): number {
  const ms = parseDuration(value);
  if (ms !== undefined) return ms;
  throw new AppError(
    'bad-request',
    `Cannot read ${field} "${value}": expected seconds, or a number with ms, s, m, h, d or w`,
    { field },
  );
}

/** An instant, or a duration with its unit, which is how long ago; `bad-request` naming `field` for what is neither. */
export function readMoment(text: string, field: string): Moment {
  const moment = parseMoment(text);
  if (moment !== undefined) return moment;
  throw new AppError(
    'bad-request',
    `Cannot read ${field} "${text}": expected RFC 3339 with a zone, such as 2026-01-31T09:30:00Z, or how long ago, such as 7d`,
    { field },
  );
}

/** What a query says of `asOf`, as a contract wants it. */
export function readAsOf({ asOf }: { readonly asOf?: string }): { readonly asOf?: Moment } {
  return asOf === undefined ? {} : { asOf: readMoment(asOf, 'asOf') };
}

/** What `readAsOf` reads again. */
export function asOfText({ asOf }: { readonly asOf?: Moment }): { readonly asOf?: string } {
  return asOf === undefined ? {} : { asOf: formatMoment(asOf) };
}

/** A duration with its unit that is not 0; `bad-request` naming `field` for what is none. */
export function readAge(text: string, field: string): number {
  const moment = parseMoment(text);
  if (moment?.kind === 'ago' && moment.agoMs > 0) return moment.agoMs;
  throw new AppError('bad-request', `Cannot read ${field} "${text}": expected a duration, such as 7d`, {
    field,
  });
}
