/** Hosts on the wire: joining, beats, reports, host documents. */
import { type Static, Type } from 'typebox';
import { limits } from '../base/limits.ts';
import { formatInstant } from '../base/time.ts';
import type { AgeFilter } from '../domain/age.ts';
import type { Beat, BeatAnswer, HostDocument, HostView } from '../domain/host.ts';
import type { HostPatch } from '../domain/host-change.ts';
import { normaliseHostName } from '../domain/ids.ts';
import { readLabelPatch } from '../domain/labels.ts';
import { formatMoment } from '../domain/moment.ts';
import {
  type HostFilter,
  type JoinAnswer,
  type JoinRequest,
  type RenewalAnswer,
  type RenewalRequest,
  type ReportBatch,
  reportTypes,
} from '../domain/services.ts';
import { hasQuery, readHas } from './inventory.ts';
import { ReasonSchema, StatusSchema } from './liveness.ts';
import {
  asOfQuery,
  Count,
  Digest,
  durationText,
  Instant,
  MarkSchema,
  momentText,
  nullable,
  pageQuery,
  readAge,
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
import { TrustKeySchema, TrustSchema } from './trust.ts';

const Name = Type.String({ minLength: 1, maxLength: limits.nameLengthMax });
const Labels = Type.Record(Type.String(), Type.String());

const MachineId = Type.String({
  minLength: 1,
  maxLength: 128,
  description: 'Stable for this installation of the machine',
});
const Proof = Type.String({ maxLength: 128, description: "Ed25519 signature by the host's key, base64" });
const Generation = Type.Integer({
  minimum: 1,
  maximum: Number.MAX_SAFE_INTEGER - 1,
  description: 'How many credentials the host has had',
});

export const HostSchema = strictObject(
  {
    id: Uuid,
    name: Name,
    region: nullable(Name),
    labels: Labels,
    self: Labels,
    status: StatusSchema,
    reason: nullable(ReasonSchema),
    confirmed: Type.Boolean(),
    firstSeen: Instant,
    lastSeen: nullable(
      Type.String({
        maxLength: 64,
        description:
          'As of a past moment: that moment for a host that was UP then, which was heard all along; else when it was last seen before',
      }),
    ),
    checkins: Type.Integer({
      minimum: 0,
      maximum: Number.MAX_SAFE_INTEGER,
      description: 'Check-ins that changed what is known to be installed',
    }),
    lastCheckin: nullable(Instant),
    conflict: nullable(words(['clone'], { description: 'More than one machine claims to be this host' })),
    revokedAt: nullable(Instant),
    version: Count,
  },
  { description: 'A host' },
);

export const HostFilterQuery = strictObject({
  name: repeatable(Name),
  region: repeatable(Name),
  status: repeatable(StatusSchema),
  selector: Type.Optional(SelectorText),
  createdAfter: Type.Optional(momentText('First seen after this')),
  createdBefore: Type.Optional(momentText('First seen before this')),
  seenAfter: Type.Optional(momentText('Last seen after this')),
  seenBefore: Type.Optional(momentText('Last seen before this')),
  fresh: Type.Optional(durationText('Seen within so long')),
  stale: Type.Optional(durationText('Not seen within so long')),
  created: Type.Optional(durationText('First seen within so long')),
  persistent: Type.Optional(
    durationText('First seen at least so long ago, and seen within the last day: still there'),
  ),
  ...hasQuery,
  ...asOfQuery,
  ...pageQuery,
});

/** Of one host. */
export const HostQuery = strictObject({ ...asOfQuery });

/** A merge patch: what is absent stays, null removes a label or the region. */
export const HostPatchBody = strictObject({
  name: Type.Optional(Name),
  region: Type.Optional(nullable(Type.String({ minLength: 1, maxLength: limits.wordLengthMax }))),
  labels: Type.Optional(
    Type.Record(Type.String(), nullable(Type.String()), { description: 'null removes a label' }),
  ),
  version: Type.Optional(Count),
});

export const JoinBody = strictObject({
  name: Name,
  region: Type.Optional(nullable(Type.String({ minLength: 1, maxLength: limits.wordLengthMax }))),
  machineId: MachineId,
  publicKey: Type.Optional(TrustKeySchema.properties.publicKey),
  proof: Type.Optional(Proof),
});

export const JoinAnswerSchema = strictObject({
  id: Uuid,
  name: Name,
  credential: Type.String({ description: 'Shown once' }),
  generation: Generation,
  expiresAt: Instant,
  trust: TrustSchema,
});

export const RenewalBody = strictObject({
  generation: Generation,
  proof: Proof,
  machineId: Type.Optional(MachineId),
});

export const RenewalAnswerSchema = strictObject({
  credential: Type.String({
    description: 'Shown once; good for an hour, and for its life once a beat came with it',
  }),
  generation: Generation,
  expiresAt: Instant,
});

export const BeatBody = strictObject({
  bootId: Type.String({ minLength: 1, maxLength: 64 }),
  startedAt: Instant,
  seq: Count,
  answered: Type.Optional(nullable(Count)),
  own: MarkSchema,
  seen: nullable(MarkSchema),
  inventory: nullable(Digest),
  leaving: Type.Optional(Type.Boolean({ description: 'The last beat of a clean stop' })),
  machineId: Type.Optional(nullable(MachineId)),
});

export const BeatAnswerSchema = strictObject({
  intervalMs: Type.Number(),
  spreadMs: Type.Number(),
  now: Instant,
  own: MarkSchema,
  seen: nullable(MarkSchema),
  checkin: words(['none', 'delta', 'complete']),
  target: nullable(
    Type.String({ maxLength: 128, description: "ETag of the host's target, without its quotes" }),
  ),
  acked: nullable(strictObject({ epoch: Count, seq: Count })),
});

export const ReportBody = strictObject({
  epoch: Count,
  items: Type.Array(
    strictObject({
      seq: Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER }),
      type: words(reportTypes),
      at: Instant,
      body: Type.Unknown(),
    }),
    { maxItems: limits.reportBatchMax },
  ),
});

export const ReportAnswer = strictObject({ acked: Count });

/** `bad-request` naming what is no moment or duration; which of them can be together is the store's to say. */
export function readHostFilter(query: Static<typeof HostFilterQuery>): HostFilter {
  const { name, region, status, selector } = query;
  return {
    ...readAges(query),
    ...readAsOf(query),
    ...readHas(query),
    ...(selector === undefined ? {} : { selector: readSelector(selector) }),
    ...(name === undefined ? {} : { name: name.map(normaliseHostName) }),
    ...(region === undefined ? {} : { region }),
    ...(status === undefined ? {} : { status }),
  };
}

const momentKeys = ['createdAfter', 'createdBefore', 'seenAfter', 'seenBefore'] as const;
const ageKeys = ['fresh', 'stale', 'created', 'persistent'] as const;

function readAges(query: Static<typeof HostFilterQuery>): AgeFilter {
  const ages: { -readonly [Key in keyof AgeFilter]: AgeFilter[Key] } = {};
  for (const key of momentKeys) {
    const text = query[key];
    if (text !== undefined) ages[key] = readMoment(text, key);
  }
  for (const key of ageKeys) {
    const text = query[key];
    if (text !== undefined) ages[`${key}Ms`] = readAge(text, key);
  }
  return ages;
}

/** As a client asks for it. */
export function hostFilterQuery({ scope: _scope, ...filter }: HostFilter): Static<typeof HostFilterQuery> {
  const { name, region, status, selector, has, asOf } = filter;
  const query: Static<typeof HostFilterQuery> = {
    ...(selector === undefined ? {} : { selector }),
    ...(name === undefined ? {} : { name: [...name] }),
    ...(region === undefined ? {} : { region: [...region] }),
    ...(status === undefined ? {} : { status: [...status] }),
    ...(has === undefined
      ? {}
      : { has: has.map(({ name, operator, version }) => `${name}${operator}${version}`) }),
    ...(asOf === undefined ? {} : { asOf: formatMoment(asOf) }),
  };
  for (const key of momentKeys) {
    const moment = filter[key];
    if (moment !== undefined) query[key] = formatMoment(moment);
  }
  for (const key of ageKeys) {
    const ms = filter[`${key}Ms`];
    if (ms !== undefined) query[key] = `${ms / 1_000}s`;
  }
  return query;
}

export function readHostPatch(body: Static<typeof HostPatchBody>): HostPatch {
  const { labels, ...same } = body;
  return { ...same, ...(labels === undefined ? {} : { labels: readLabelPatch(labels, 'labels') }) };
}

export function readHost(document: HostDocument): HostView {
  const { firstSeen, lastSeen, revokedAt, checkins, lastCheckin, ...same } = document;
  return {
    ...same,
    firstSeenMs: readInstant(firstSeen, 'firstSeen'),
    lastSeenMs: lastSeen === null ? null : readInstant(lastSeen, 'lastSeen'),
    checkIns: checkins,
    lastCheckInMs: lastCheckin === null ? null : readInstant(lastCheckin, 'lastCheckin'),
    revokedAtMs: revokedAt === null ? null : readInstant(revokedAt, 'revokedAt'),
  };
}

export function readJoin(body: Static<typeof JoinBody>): JoinRequest {
  const { region = null, ...same } = body;
  return { region, ...same };
}

export function joinAnswerDocument({
  expiresAtMs,
  trust,
  ...same
}: JoinAnswer): Static<typeof JoinAnswerSchema> {
  const { urls, keys, ca } = trust;
  return {
    ...same,
    expiresAt: formatInstant(expiresAtMs),
    trust: { urls: [...urls], keys: [...keys], ca: [...ca] },
  };
}

export function readJoinAnswer({ expiresAt, ...same }: Static<typeof JoinAnswerSchema>): JoinAnswer {
  return { ...same, expiresAtMs: readInstant(expiresAt, 'expiresAt') };
}

export function readRenewal(body: Static<typeof RenewalBody>): RenewalRequest {
  return { ...body, machineId: body.machineId ?? null };
}

export function renewalBody({ machineId, ...same }: RenewalRequest): Static<typeof RenewalBody> {
  return { ...same, ...(machineId === null ? {} : { machineId }) };
}

export function renewalAnswerDocument({
  expiresAtMs,
  ...same
}: RenewalAnswer): Static<typeof RenewalAnswerSchema> {
  return { ...same, expiresAt: formatInstant(expiresAtMs) };
}

export function readRenewalAnswer({ expiresAt, ...same }: Static<typeof RenewalAnswerSchema>): RenewalAnswer {
  return { ...same, expiresAtMs: readInstant(expiresAt, 'expiresAt') };
}

export function readBeat(body: Static<typeof BeatBody>): Beat {
  const { bootId, startedAt, seq, answered = null, own, seen, inventory, leaving = false } = body;
  const { machineId = null } = body;
  const startedAtMs = readInstant(startedAt, 'startedAt');
  return { bootId, startedAtMs, seq, answered, own, seen, inventory, leaving, machineId };
}

export function beatBody(beat: Beat): Static<typeof BeatBody> {
  const { startedAtMs, leaving, ...same } = beat;
  return { ...same, startedAt: formatInstant(startedAtMs), ...(leaving ? { leaving } : {}) };
}

export function beatAnswerDocument(
  answer: BeatAnswer,
  format: (ms: number) => string = formatInstant,
): Static<typeof BeatAnswerSchema> {
  const { intervalMs, spreadMs, own, seen, checkin, target, acked, nowMs } = answer;
  return { intervalMs, spreadMs, own, seen, checkin, target, acked, now: format(nowMs) };
}

export function readBeatAnswer(document: Static<typeof BeatAnswerSchema>): BeatAnswer {
  const { now, ...same } = document;
  return { ...same, nowMs: readInstant(now, 'now') };
}

export function readReportBatch(body: Static<typeof ReportBody>): ReportBatch {
  return {
    epoch: body.epoch,
    items: body.items.map(({ seq, type, at, body: content }, index) => ({
      seq,
      type,
      atMs: readInstant(at, `items/${index}/at`),
      body: content,
    })),
  };
}

export function reportBatchBody(batch: ReportBatch): Static<typeof ReportBody> {
  return {
    epoch: batch.epoch,
    items: batch.items.map(({ seq, type, atMs, body }) => ({ seq, type, at: formatInstant(atMs), body })),
  };
}
