/** Installed components on the wire: check-ins and lists. */
import { type Static, Type } from 'typebox';
import { limits } from '../base/limits.ts';
import { formatInstant } from '../base/time.ts';
import { AppError } from '../domain/error.ts';
import { isPrintable } from '../domain/ids.ts';
import type { CheckIn, ComponentDifference, ComponentView } from '../domain/inventory.ts';
import type { ComponentChangeFilter, ComponentFilter, Stretch } from '../domain/services.ts';
import { parseVersionRange, type VersionRange } from '../domain/version.ts';
import {
  asOfQuery,
  Count,
  Digest,
  Instant,
  momentText,
  nullable,
  pageQuery,
  readAsOf,
  readInstant,
  readMoment,
  readSelector,
  repeatable,
  SelectorText,
  strictObject,
  Uuid,
  words,
} from './schema.ts';

const wordBounds = { minLength: 1, maxLength: limits.wordLengthMax };
const Word = Type.String(wordBounds);
export const componentTurnKinds = ['installed', 'changed', 'removed'] as const;
const Version = Type.String({ minLength: 1, maxLength: limits.versionLengthMax });

export const ComponentSchema = strictObject({
  name: Word,
  version: Version,
  detector: Word,
  architecture: Type.Optional(Word),
  firstSeen: Instant,
  changedAt: Instant,
});

export const ComponentSummarySchema = strictObject({
  name: Word,
  versions: Type.Array(strictObject({ version: Version, hosts: Count })),
});

export const ComponentPageQuery = strictObject({ ...asOfQuery, ...pageQuery });

/** A component and a range of its versions; of hosts, those that have one of them. */
export const hasQuery = {
  has: repeatable(
    Type.String({
      minLength: 1,
      maxLength: 2 * limits.wordLengthMax + limits.versionLengthMax,
      description: 'Only hosts with a component in this range: openssl<3.0.13; of several, in each of them',
    }),
    limits.rangesMax,
  ),
};

export const ComponentFilterQuery = strictObject({
  selector: Type.Optional(SelectorText),
  ...hasQuery,
  ...asOfQuery,
  ...pageQuery,
});

/** Of questions about a stretch of the past. */
export const stretchQuery = {
  from: momentText('From when; what was so then already is not told'),
  to: Type.Optional(momentText('Until when, default now')),
};

export const ComponentChangeQuery = strictObject({
  ...stretchQuery,
  host: Type.Optional(Type.String({ minLength: 1, maxLength: 253, description: 'Name or id of one host' })),
  selector: Type.Optional(SelectorText),
  name: Type.Optional(Type.String({ ...wordBounds, description: 'Of the component, exactly' })),
  ...pageQuery,
});

export const HostHistoryQuery = strictObject({
  from: Type.Optional(momentText('From when, default as far back as is kept')),
  to: stretchQuery.to,
  ...pageQuery,
});

const StateSchema = strictObject({ version: Version, architecture: Type.Optional(Word) });
/** What became of a component. */
export const componentTurnFields = {
  name: Word,
  detector: Word,
  before: nullable(StateSchema),
  after: nullable(StateSchema),
};

export const ComponentDifferenceSchema = strictObject({
  hostId: Uuid,
  host: Type.String(),
  kind: words(componentTurnKinds),
  ...componentTurnFields,
});

export const CheckInBody = strictObject({
  base: nullable(Digest),
  hash: Digest,
  components: Type.Array(
    strictObject({ name: Word, version: Version, detector: Word, architecture: Type.Optional(Word) }),
    { maxItems: limits.checkInItemsMax },
  ),
  removed: Type.Optional(
    Type.Array(strictObject({ detector: Word, name: Word }), { maxItems: limits.checkInItemsMax }),
  ),
});

export const CheckInAnswerSchema = strictObject({ accepted: Type.Boolean(), hash: nullable(Digest) });

/** An hour less than is kept, for those who read it page by page. */
const longestAgoMs = limits.historyKeptMs - 3_600_000;

export function readComponentFilter(query: Static<typeof ComponentFilterQuery>): ComponentFilter {
  const { selector } = query;
  return {
    ...(selector === undefined ? {} : { selector: readSelector(selector) }),
    ...readAsOf(query),
    ...readHas(query),
  };
}

/** What a query says of `has`, as a contract wants it; `bad-request` naming it for what is no range. */
export function readHas({ has }: { readonly has?: readonly string[] }): {
  readonly has?: readonly VersionRange[];
} {
  return has === undefined ? {} : { has: has.map((text) => parseVersionRange(text, 'has')) };
}

export function readStretch({ from, to }: { from?: string; to?: string }): Stretch {
  return {
    from: from === undefined ? { kind: 'ago', agoMs: longestAgoMs } : readMoment(from, 'from'),
    ...(to === undefined ? {} : { to: readMoment(to, 'to') }),
  };
}

export function readComponentChanges(query: Static<typeof ComponentChangeQuery>): ComponentChangeFilter {
  const { host, selector, name } = query;
  return {
    ...readStretch(query),
    ...(host === undefined ? {} : { host }),
    ...(selector === undefined ? {} : { selector: readSelector(selector) }),
    ...(name === undefined ? {} : { name }),
  };
}

/** Throws `bad-request` for what is not printable: it goes to terminals, logs and other tools as it is. */
export function readCheckIn(body: Static<typeof CheckInBody>): CheckIn {
  requirePrintables('components', body.components);
  requirePrintables('removed', body.removed ?? []);
  return { base: body.base, hash: body.hash, components: body.components, removed: body.removed ?? [] };
}

function requirePrintables(list: string, items: readonly Readonly<Record<string, string>>[]): void {
  for (const [index, item] of items.entries()) {
    for (const key in item) {
      const text = item[key] ?? '';
      if (isPrintable(text)) continue;
      const field = `${list}/${index}/${key}`;
      throw new AppError(
        'bad-request',
        `Cannot check in: ${field} ${JSON.stringify(text.slice(0, 80))} is not printable`,
        { field },
      );
    }
  }
}

export function checkInBody(checkIn: CheckIn): Static<typeof CheckInBody> {
  return {
    base: checkIn.base,
    hash: checkIn.hash,
    components: [...checkIn.components],
    ...(checkIn.removed.length === 0 ? {} : { removed: [...checkIn.removed] }),
  };
}

export function componentDocument(view: ComponentView): Static<typeof ComponentSchema> {
  const { name, version, detector, architecture, firstSeenMs, changedAtMs } = view;
  return {
    name,
    version,
    detector,
    ...(architecture === undefined ? {} : { architecture }),
    firstSeen: formatInstant(firstSeenMs),
    changedAt: formatInstant(changedAtMs),
  };
}

export function readComponent(document: Static<typeof ComponentSchema>): ComponentView {
  const { firstSeen, changedAt, ...same } = document;
  return {
    ...same,
    firstSeenMs: readInstant(firstSeen, 'firstSeen'),
    changedAtMs: readInstant(changedAt, 'changedAt'),
  };
}

export function differenceDocument(
  difference: ComponentDifference,
): Static<typeof ComponentDifferenceSchema> {
  return difference;
}
