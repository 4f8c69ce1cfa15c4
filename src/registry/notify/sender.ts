/**
 * What speaks to one sink. How a delivery ends says what becomes of the message:
 *
 * - `unavailable` (nobody answers, 408, 425, 429, 502, 503, 504): the sink is away. It is tried until it is back, or the
 *   log has forgotten what was to be told.
 * - `unprocessable` (400, 413, 415, 422): it will never take this message. That is dropped, counted and logged.
 * - anything else (401, 403, 404, 500, …): its settings may be wrong, or the message. It is tried for an hour, for
 *   somebody may mend the first; then the message is dropped, for it may be the second.
 */

import { readPrivateFile } from '../../base/atomic-file.ts';
import type { Clock } from '../../base/clock.ts';
import type { EgressAnswer } from '../../client/egress.ts';
import type { ProxySettings } from '../../client/proxy.ts';
import type { Alert } from '../../domain/alert.ts';
import { AppError, type ErrorCode } from '../../domain/error.ts';
import type { NotifyMessage } from '../../domain/notify-batch.ts';
import { oneLine } from '../../domain/notify-words.ts';
import type { RunnerService } from '../../domain/services.ts';

export interface Sender {
  /** Resolves with what the other side said, when it has taken the message. Throws as above. */
  deliver(message: NotifyMessage, options: { readonly signal: AbortSignal }): Promise<string>;
  /** Tells again of alerts, of who forgets them otherwise. */
  tellAgain?(alerts: readonly Alert[], options: { readonly signal: AbortSignal }): Promise<void>;
  close(): Promise<void>;
}

/** What senders are made with. */
export interface SenderSurroundings {
  readonly clock: Clock;
  readonly proxy: ProxySettings;
  /** Takes the steps of sinks; null: no runner is told of. */
  readonly runner: RunnerService | null;
}

/** Alerts that fire are told again this often. */
export const tellAgainMs = 60_000;

/** How long a message is tried that is refused, by a sink that answers. */
export const refusedTriesMs = 3_600_000;

const verdicts: Readonly<Record<number, ErrorCode>> = {
  400: 'unprocessable',
  401: 'forbidden',
  403: 'forbidden',
  404: 'not-found',
  408: 'unavailable',
  410: 'not-found',
  413: 'unprocessable',
  415: 'unprocessable',
  422: 'unprocessable',
  425: 'unavailable',
  429: 'unavailable',
  502: 'unavailable',
  503: 'unavailable',
  504: 'unavailable',
};

/** What an answer over HTTP says: words for people, or an error. `secrets` are not repeated from it. */
export function takenOr(answer: EgressAnswer, label: string, secrets: readonly string[]): string {
  const { status, text, retryAfterMs } = answer;
  const said = shownText(text, secrets);
  const words = said === '' ? `${status}` : `${status}: ${said}`;
  if (status >= 200 && status <= 299) return words;
  const wish = status >= 300 && status <= 399 ? '; redirects are not followed, name the place itself' : '';
  throw new AppError(verdicts[status] ?? 'internal', `${label} answered ${words}${wish}`, {
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

/** The beginning of a text of somebody else, in which what is secret is not shown, not even where it is cut. */
export function shownText(text: string, secrets: readonly string[]): string {
  const hidden = secrets.reduce(
    (left, secret) => (secret.length < 4 ? left : left.replaceAll(secret, '***')),
    text,
  );
  return oneLine(hidden, 200);
}

/** The one line of a file that is kept like a secret. `forbidden` naming the file and what is wrong with it. */
export async function readSecret(file: string): Promise<string> {
  let text: string;
  try {
    text = (await readPrivateFile(file)).toString('utf8').trim();
  } catch (error) {
    throw new AppError('forbidden', (error as Error).message, { cause: error });
  }
  if (text !== '' && !/[\n\r\0]/.test(text)) return text;
  throw new AppError('forbidden', `Cannot use ${file}: expected one line that is not empty`);
}
