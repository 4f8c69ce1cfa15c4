/**
 * Rules of releases: versions of a component that somebody published on a train. A release is no configuration object
 * that two people edit: CI publishes blindly, and again after a lost answer. So publishing creates or replaces, the
 * same again changes nothing, and a condition (`If-Match`) is kept where it is given and never asked for.
 */
import { limits } from '../base/limits.ts';
import { formatInstant } from '../base/time.ts';
import { requireTag } from './condition.ts';
import { AppError } from './error.ts';
import type { EventDraft, EventType } from './event.ts';
import type { VersionCondition } from './host-change.ts';
import { isPrintable, requirePrintable } from './ids.ts';
import { compareVersions, type VersionOrder } from './version.ts';

/** A line of versions of a component. */
export interface TrainKey {
  readonly component: string;
  readonly train: string;
}

export interface ReleaseKey extends TrainKey {
  readonly version: string;
}

/** What is published. All of it replaces what was published before under the same key. */
export interface ReleaseContent {
  /** When it came out; absent: as published before, or now. */
  readonly releasedMs?: number;
  readonly description: string | null;
  readonly fixes: string | null;
  readonly image: string | null;
  /** Whatever else there is to know of it, kept as it is. */
  readonly data: Readonly<Record<string, unknown>> | null;
}

export interface Release extends ReleaseKey, Required<ReleaseContent> {
  /** Who published it first, and when. */
  readonly publishedBy: string;
  readonly publishedAtMs: number;
  /** When its content changed last: greater with each change, and so the version of the document (`ETag`). */
  readonly changedAtMs: number;
}

/** How the latest release of a train is found: by the date on which it came out, or by its version. */
export const latestOrders = ['date', 'semver', 'debian', 'rpm'] as const satisfies readonly (
  | 'date'
  | VersionOrder
)[];
export type LatestOrder = (typeof latestOrders)[number];

/** `…/releases/latest` is a question, so no release can be called so. */
const reservedVersion = 'latest';

/** Throws `bad-request` naming the field for what can be no name of a component or a train. */
export function requireTrainKey({ component, train }: TrainKey): void {
  requirePrintable(component, 'component');
  requirePrintable(train, 'train');
}

/** As `requireTrainKey`, also for what can be no version. */
export function requireReleaseKey(key: ReleaseKey): void {
  requireTrainKey(key);
  const { version } = key;
  const { length } = [...version];
  if (length >= 1 && length <= limits.versionLengthMax && isPrintable(version) && version.trim() === version)
    return;
  throw new AppError(
    'bad-request',
    `Cannot use version ${JSON.stringify(version.slice(0, 80))}: expected 1 to ${limits.versionLengthMax} printable characters without spaces at the ends`,
    { field: 'version' },
  );
}

export interface ReleaseDecision {
  readonly release: Release;
  /** Null: it is so already. */
  readonly change: EventType | null;
}

/**
 * Creates or replaces. Throws `bad-request` naming the field that cannot be, `too-large` beyond
 * `limits.releaseBytes`, `precondition-failed` when what is there is of none of the versions in `condition`.
 */
export function decidePublish(
  before: Release | null,
  key: ReleaseKey,
  options: {
    readonly content: ReleaseContent;
    readonly condition: VersionCondition;
    readonly subject: string;
    readonly now: number;
  },
): ReleaseDecision {
  const { content, condition, subject, now } = options;
  requireReleaseKey(key);
  if (key.version === reservedVersion)
    throw refusal(key, 'version', `"${reservedVersion}" asks for the latest release, call it otherwise`);
  requireContent(key, content);
  requireTag(changing(key), before?.changedAtMs ?? null, condition);
  const { component, train, version } = key;
  const { description, fixes, image, data } = content;
  const release = {
    ...{ component, train, version },
    releasedMs: content.releasedMs ?? before?.releasedMs ?? now,
    ...{ description, fixes, image, data },
    publishedBy: before?.publishedBy ?? subject,
    publishedAtMs: before?.publishedAtMs ?? now,
  };
  if (before === null) return { release: { ...release, changedAtMs: now }, change: 'release.published' };
  if (isSameContent(before, release)) return { release: before, change: null };
  const changedAtMs = Math.max(now, before.changedAtMs + 1);
  return { release: { ...release, changedAtMs }, change: 'release.changed' };
}

/** Throws `not-found`, and `precondition-failed` as `decidePublish` does. */
export function decideWithdraw(
  before: Release | null,
  key: ReleaseKey,
  condition: VersionCondition,
): Release {
  if (before === null) throw releaseNotFound(key);
  requireTag(changing(key), before.changedAtMs, condition);
  return before;
}

/** The first of those that no other one is later than; undefined of none. */
export function latestVersion(order: VersionOrder, versions: Iterable<string>): string | undefined {
  let latest: string | undefined;
  for (const version of versions)
    if (latest === undefined || compareVersions(order, version, latest) > 0) latest = version;
  return latest;
}

export function releaseNotFound({ component, train, version }: ReleaseKey): AppError {
  const [name, line] = [cut(component), cut(train)];
  return new AppError(
    'not-found',
    version === reservedVersion
      ? `Cannot find the latest release of ${name} on train ${line}: nothing is published there`
      : `Cannot find release ${cut(version)} of ${name} on train ${line}: it is not published`,
  );
}

/** As `releaseNotFound`, for the latest one. */
export function latestNotFound(key: TrainKey): AppError {
  return releaseNotFound({ ...key, version: reservedVersion });
}

/** A release as the wire and events show it. */
export interface ReleaseDocument extends ReleaseKey {
  readonly released: string;
  readonly description: string | null;
  readonly fixes: string | null;
  readonly image: string | null;
  readonly data: Readonly<Record<string, unknown>> | null;
  readonly publishedBy: string;
  readonly publishedAt: string;
  readonly changedAt: string;
}

export function releaseDocument(release: Release): ReleaseDocument {
  const { component, train, version, releasedMs, description, fixes, image, data } = release;
  return {
    ...{ component, train, version },
    released: formatInstant(releasedMs),
    ...{ description, fixes, image, data },
    publishedBy: release.publishedBy,
    publishedAt: formatInstant(release.publishedAtMs),
    changedAt: formatInstant(release.changedAtMs),
  };
}

/** Of a component called `app/service` it is also an event of that app and service. */
export function releaseEvent(type: EventType, release: Release): EventDraft {
  const { component } = release;
  const end = component.indexOf('/');
  return {
    type,
    ...(end > 0 ? { app: component.slice(0, end), service: component } : {}),
    body: releaseDocument(release),
  };
}

/** What it takes to keep and to answer one, about. */
export function releaseBytes({ description, fixes, image, data }: ReleaseContent): number {
  const texts = [description, fixes, image, data === null ? null : JSON.stringify(data)];
  return texts.reduce((sum, text) => sum + (text === null ? 0 : Buffer.byteLength(text)), 0);
}

function requireContent(key: ReleaseKey, content: ReleaseContent): void {
  const { image, data } = content;
  for (const field of ['description', 'fixes'] as const) {
    // Pictures are joined by format characters, so these may be: it is told as text, and shown with care.
    if (/(?![\n\r\t])[\p{Cc}\p{Cs}]/u.test(content[field] ?? ''))
      throw refusal(key, field, 'it holds control characters, expected text');
  }
  if (image !== null && !isPrintable(image)) throw refusal(key, 'image', 'it holds what is not printable');
  const depthMax = limits.releaseDataDepthMax;
  if (data !== null && !isShallow(data, depthMax))
    throw refusal(key, 'data', `it nests deeper than ${depthMax}`);
  const bytes = releaseBytes(content);
  if (bytes > limits.releaseBytes) {
    throw new AppError(
      'too-large',
      `Cannot publish release "${key.version}" of ${key.component}: description, fixes, image and data take ${bytes} bytes together, expected at most ${limits.releaseBytes}; link to the rest`,
    );
  }
}

function isShallow(value: unknown, depthMax: number): boolean {
  if (typeof value !== 'object' || value === null) return true;
  return depthMax > 0 && Object.values(value).every((member) => isShallow(member, depthMax - 1));
}

function changing({ component, version }: ReleaseKey): string {
  return `Cannot change release "${version}" of ${component}`;
}

function isSameContent(a: Required<ReleaseContent>, b: Required<ReleaseContent>): boolean {
  return (
    a.releasedMs === b.releasedMs &&
    a.description === b.description &&
    a.fixes === b.fixes &&
    a.image === b.image &&
    JSON.stringify(a.data) === JSON.stringify(b.data)
  );
}

function refusal({ component, version }: ReleaseKey, field: string, problem: string): AppError {
  return new AppError(
    'bad-request',
    `Cannot publish release "${version}" of ${component}: ${field}: ${problem}`,
    { field },
  );
}

function cut(text: string): string {
  return JSON.stringify(text.slice(0, 80));
}
