/** Installed components on the wire: check-ins and lists. */
import { type Static, Type } from 'typebox';
import { limits } from '../base/limits.ts';
import { formatInstant } from '../base/time.ts';
import { AppError } from '../domain/error.ts';
import { isPrintable } from '../domain/ids.ts';
import type { CheckIn, ComponentView } from '../domain/inventory.ts';
import type { HostSelection } from '../domain/services.ts';
import {
  Count,
  Digest,
  Instant,
  nullable,
  pageQuery,
  readInstant,
  readSelector,
  SelectorText,
  strictObject,
} from './schema.ts';

const Word = Type.String({ minLength: 1, maxLength: limits.wordLengthMax });
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

export const ComponentPageQuery = strictObject({ ...pageQuery });

export const ComponentFilterQuery = strictObject({
  selector: Type.Optional(SelectorText),
  ...pageQuery,
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

export function readComponentFilter({ selector }: Static<typeof ComponentFilterQuery>): HostSelection {
  return selector === undefined ? {} : { selector: readSelector(selector) };
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
