/** Rules of tokens: which may be issued, and what a join token is good for. */
import { formatInstant } from '../base/time.ts';
import { roles, type TokenRole, type TokenScope } from './access.ts';
import { AppError } from './error.ts';
import type { EventDraft, EventType } from './event.ts';
import { isPrintable, normaliseHostName, requirePrintable } from './ids.ts';
import { type Labels, readLabels } from './labels.ts';

/** `api`: of a person or a program. `join`: makes hosts. `host`: a host's own credential. */
export const tokenKinds = ['api', 'join', 'host'] as const;
export type TokenKind = (typeof tokenKinds)[number];

const dayMs = 86_400_000;
export const adminTokenLifeMs = 30 * dayMs;
/** Of a host that proved a key, and renews. */
export const hostCredentialLifeMs = dayMs;
/** Of a host that an admin let in without a key: it cannot renew. */
export const keylessCredentialLifeMs = 90 * dayMs;
/** How long a new credential waits for its first beat. */
export const credentialOfferMs = 3_600_000;

const apiLife = { defaultMs: 90 * dayMs, maxMs: 400 * dayMs };
const joinLife = { defaultMs: 30 * 60_000, maxMs: 30 * dayMs };
const lifeMinMs = 1_000;
export const joinUsesMax = 10_000;

/** A token as it is kept; never its secret. */
export interface TokenRecord {
  readonly id: string;
  readonly kind: TokenKind;
  readonly role: TokenRole;
  /** Whoever uses it is called so in events, logs and quorums. */
  readonly subject: string;
  readonly scope: TokenScope | null;
  /** Hosts that a join token still makes; null for the other kinds. */
  readonly uses: number | null;
  /** What a host that joins with it gets. */
  readonly labels: Labels;
  readonly region: string | null;
  /** The host names that a join token is good for, `*` stands for any characters; null: every name. */
  readonly name: string | null;
  readonly hostId: string | null;
  readonly createdBy: string;
  readonly createdAtMs: number;
  readonly expiresAtMs: number;
  readonly revokedAtMs: number | null;
}

/** What is asked for; absent fields get their defaults. */
export interface TokenRequest {
  readonly role: TokenRole;
  readonly subject?: string;
  readonly expiresInMs?: number;
  readonly scope?: TokenScope | null;
  readonly uses?: number;
  readonly labels?: Labels;
  readonly region?: string | null;
  readonly name?: string | null;
}

/** What is to be issued. */
export interface TokenPlan {
  readonly kind: 'api' | 'join';
  readonly role: TokenRole;
  /** Null: a join token is called by its own id. */
  readonly subject: string | null;
  readonly lifeMs: number;
  readonly scope: TokenScope | null;
  readonly uses: number | null;
  readonly labels: Labels;
  readonly region: string | null;
  readonly name: string | null;
}

/** Throws `bad-request` naming the field that is missing, is out of range, or has no meaning for this role. */
export function decideToken(request: TokenRequest): TokenPlan {
  return request.role === 'host' ? decideJoinToken(request) : decideApiToken(request);
}

function decideApiToken(request: TokenRequest): TokenPlan {
  const { role, subject, scope = null } = request;
  for (const field of ['uses', 'labels', 'region', 'name'] as const) {
    if (request[field] !== undefined && request[field] !== null)
      throw refusal(field, `a token of role ${role} has none, only join tokens (role host) do`);
  }
  if (subject === undefined)
    throw refusal('subject', 'it is missing; name the person or program that will use the token');
  const lifeMs = readLife(request.expiresInMs, apiLife);
  return {
    kind: 'api',
    role,
    subject: requireSubject(subject),
    lifeMs,
    scope,
    uses: null,
    labels: {},
    region: null,
    name: null,
  };
}

function decideJoinToken(request: TokenRequest): TokenPlan {
  const { uses = 1, labels = {}, region = null, name = null } = request;
  if (request.subject !== undefined) throw refusal('subject', 'a host is called by its own name');
  if (request.scope !== undefined && request.scope !== null)
    throw refusal('scope', 'a host speaks only for itself anyway');
  if (!Number.isSafeInteger(uses) || uses < 1 || uses > joinUsesMax)
    throw refusal('uses', `${uses} given, expected 1 to ${joinUsesMax}`);
  if (region !== null) requirePrintable(region, 'region');
  return {
    kind: 'join',
    role: 'host',
    subject: null,
    lifeMs: readLife(request.expiresInMs, joinLife),
    scope: null,
    uses,
    labels: readLabels(labels, 'labels'),
    region,
    name: name === null ? null : requireNamePattern(name),
  };
}

/** Subjects that the program uses itself: a token by such a name would sign for it. */
const reservedSubjects = ['system', 'local', 'local-program', 'local-reader', 'anonymous', 'admin.token'];

function requireSubject(subject: string): string {
  requirePrintable(subject, 'subject');
  if (reservedSubjects.includes(subject) || /^(host|join):/.test(subject))
    throw refusal(
      'subject',
      `"${subject}" is how Holdfast itself calls somebody, choose the name of a person or program`,
    );
  return subject;
}

function requireNamePattern(pattern: string): string {
  const text = pattern.trim().toLowerCase();
  if (text !== '' && text.length <= 253 && /^[a-z0-9.*-]+$/.test(text)) return text;
  throw refusal('name', `"${pattern.slice(0, 80)}" given, expected a host name in which * may stand`);
}

function readLife(ms: number | undefined, life: { defaultMs: number; maxMs: number }): number {
  if (ms === undefined) return life.defaultMs;
  if (ms >= lifeMinMs && ms <= life.maxMs) return Math.floor(ms);
  throw refusal('expiresIn', `expected 1 second to ${life.maxMs / dayMs} days`);
}

/** Whether a join token is good for a host that wants this name. Takes linear time for every pattern. */
export function isNameAllowed(pattern: string | null, hostName: string): boolean {
  if (pattern === null) return true;
  const name = normaliseHostName(hostName);
  const [first = '', ...others] = pattern.split('*');
  const last = others.pop();
  if (last === undefined) return name === first;
  if (!name.startsWith(first)) return false;
  let at = first.length;
  // The earliest place of each part leaves the most for the others.
  for (const part of others) {
    const found = name.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return name.length - last.length >= at && name.endsWith(last);
}

/** A role that a token may have, as a person wrote it. */
export function parseRole(text: string): TokenRole | undefined {
  return roles.find((role) => role === text);
}

/** A token as the wire shows it. */
export interface TokenDocument {
  readonly id: string;
  readonly kind: TokenKind;
  readonly role: TokenRole;
  readonly subject: string;
  readonly scope: TokenScope | null;
  readonly uses: number | null;
  readonly labels: Labels;
  readonly region: string | null;
  readonly name: string | null;
  readonly host: string | null;
  readonly createdBy: string;
  readonly createdAt: string;
  readonly expiresAt: string;
  readonly revokedAt: string | null;
}

export function tokenDocument(record: TokenRecord): TokenDocument {
  const { createdAtMs, expiresAtMs, revokedAtMs, hostId, ...same } = record;
  return {
    ...same,
    host: hostId,
    createdAt: formatInstant(createdAtMs),
    expiresAt: formatInstant(expiresAtMs),
    revokedAt: revokedAtMs === null ? null : formatInstant(revokedAtMs),
  };
}

export function tokenEvent(type: EventType, record: TokenRecord): EventDraft {
  return { type, body: tokenDocument(record) };
}

function refusal(field: string, problem: string): AppError {
  const text = isPrintable(problem) ? problem : 'it holds characters that cannot be printed';
  return new AppError('bad-request', `Cannot issue the token: ${field}: ${text}`, { field });
}
