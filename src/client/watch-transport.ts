/** What the two ways to watch have in common: what they are asked for, and how their messages are checked. */
import type { Selection } from '../domain/event.ts';
import type { WatchMessage } from '../wire/watch.ts';
import type { Connection } from './connection.ts';
import { LinkError } from './link.ts';

/** What one connection is asked for. */
export interface WatchStart {
  readonly select: Selection | undefined;
  readonly since: string | null;
  readonly snapshot: boolean;
}

/**
 * One connection's messages. Ends when the server closes in good order. Throws `LinkError` when the connection cannot
 * be had, breaks, falls silent or carries garbage; the server's refusal; the signal's reason when aborted.
 */
export type WatchTransport = (
  connection: Connection,
  start: WatchStart,
  options: { readonly signal?: AbortSignal; readonly onOpen: () => void },
) => AsyncGenerator<WatchMessage, void, undefined>;

/** `progress` comes every 30 s at least; after this long without a sign the connection is taken for dead. */
export const silenceMaxMs = 75_000;

export function silent(label: string): LinkError {
  return new LinkError(
    'unreachable',
    `Cannot follow ${label}: it has been silent for ${silenceMaxMs / 1_000} s`,
  );
}

/**
 * A message that cannot be read means that something may have been missed.
 * undefined for a kind that this version does not know; throws `LinkError` (`foreign`) for what is no message.
 */
export function readWatchMessage(body: unknown, label: string): WatchMessage | undefined {
  if (typeof body !== 'object' || body === null || typeof (body as { kind?: unknown }).kind !== 'string') {
    throw unreadable(label, body);
  }
  const message = body as Record<string, unknown> & WatchMessage;
  const valid = checks[message.kind];
  if (valid === undefined) return undefined;
  if (!valid(message)) throw unreadable(label, body);
  return message;
}

const isPosition = (value: unknown) => typeof value === 'string' && /^\d{1,16}\.\d{1,16}$/.test(value);

const checks: Readonly<Record<WatchMessage['kind'], (message: Record<string, unknown>) => boolean>> = {
  snapshot: ({ position, items, done }) =>
    isPosition(position) && Array.isArray(items) && typeof done === 'boolean',
  events: ({ position, events }) => isPosition(position) && Array.isArray(events),
  progress: ({ position }) => isPosition(position),
  compacted: ({ oldest }) => isPosition(oldest),
  reset: ({ epoch }) => Number.isSafeInteger(epoch),
  closing: ({ reason }) => typeof reason === 'string',
  error: ({ code, detail }) => typeof code === 'string' && typeof detail === 'string',
};

function unreadable(label: string, body: unknown): LinkError {
  return new LinkError(
    'foreign',
    `Cannot follow ${label}: it sent ${JSON.stringify(body)?.slice(0, 80) ?? 'nothing'}, which is no watch message`,
  );
}
