/** Basic authentication (RFC 7617), for the one route of workflow-manager-api that had it. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

/** The one who may read doctor reports with a password; null: nobody may. */
export interface BasicUser {
  readonly user: string;
  readonly password: string;
}

/** The user name and password that a request shows; undefined when it shows none, null when they cannot be read. */
export function basicOf({ headers }: IncomingMessage): BasicUser | null | undefined {
  const { authorization } = headers;
  if (authorization === undefined || !/^Basic(?: |$)/i.test(authorization)) return undefined;
  const encoded = /^Basic +([A-Za-z0-9+/]+={0,2}) *$/i.exec(authorization)?.[1];
  const text = encoded === undefined ? '' : Buffer.from(encoded, 'base64').toString('utf8');
  const at = text.indexOf(':');
  return at === -1 ? null : { user: text.slice(0, at), password: text.slice(at + 1) };
}

/** In a time that says nothing of how much of it is right. What is empty on either side is never right. */
export function isBasicUser(wanted: BasicUser | null, shown: BasicUser | null): boolean {
  const right = [wanted?.user ?? '', wanted?.password ?? ''];
  const given = [shown?.user ?? '', shown?.password ?? ''];
  const same = right.map((text, index) => timingSafeEqual(digest(text), digest(given[index] ?? '')));
  return same.every(Boolean) && !right.includes('');
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
