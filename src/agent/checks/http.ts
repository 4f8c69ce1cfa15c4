/** The `http` probe: a GET of this host's own, on a connection of its own, without proxies. */
import type { Dispatcher } from 'undici';
import { limits } from '../../base/limits.ts';
import { type Search, SearchTooSlow } from '../../base/search.ts';
import { toLinkError } from '../../client/link.ts';
import type { Outcome, Probe } from '../../domain/check.ts';
import { shortageOf } from './shortage.ts';

type HttpProbe = Extract<Probe, { kind: 'http' }>;

const redirectsMax = 5;
const redirectStatuses = [301, 302, 303, 307, 308];

/**
 * What the URL answers: its status, and with `match` the beginning of its body. Follows redirects on the same host
 * unless a redirect is what is expected. Rejects only with the signal's reason.
 */
export async function probeHttp(
  probe: HttpProbe,
  { signal, search }: { signal: AbortSignal; search: Search },
): Promise<Outcome> {
  let url = new URL(probe.url);
  for (let redirects = 0; ; redirects += 1) {
    const answer = await get(url, probe, { signal, search });
    if ('kind' in answer) return answer;
    const next = URL.parse(answer.location, url.href);
    const why =
      next === null || !['http:', 'https:'].includes(next.protocol)
        ? 'which is no URL of HTTP'
        : next.hostname !== url.hostname
          ? 'which is another host'
          : redirects === redirectsMax
            ? `after ${redirectsMax} redirects`
            : null;
    if (next === null || why !== null)
      return failed(`HTTP ${answer.status}, a redirect to ${answer.location.slice(0, 120)}, ${why}`);
    url = next;
  }
}

interface Redirect {
  readonly status: number;
  readonly location: string;
}

async function get(
  url: URL,
  probe: HttpProbe,
  { signal, search }: { signal: AbortSignal; search: Search },
): Promise<Outcome | Redirect> {
  // Loaded by whoever needs it, as in client/connection.ts.
  const { Client } = await import('undici');
  const client = new Client(url.origin, { maxHeaderSize: limits.headersBytes, connectTimeout: 0 });
  try {
    const response = await client.request({
      path: `${url.pathname}${url.search}`,
      method: 'GET',
      headers: { 'user-agent': 'holdfast', accept: '*/*', connection: 'close' },
      signal,
    });
    const { statusCode: status, headers, body } = response;
    const { location } = headers;
    const expected = probe.status.some(([from, to]) => from <= status && status <= to);
    if (!expected && redirectStatuses.includes(status) && typeof location === 'string')
      return { status, location };
    if (!expected) return failed(`HTTP ${status}, expected ${rangesText(probe)}`);
    if (probe.match === null) return { kind: 'passed', detail: `HTTP ${status}` };
    const found = search(probe.match, await beginning(body));
    return found === null
      ? failed(`HTTP ${status}, and nothing in the body matches ${probe.match}`)
      : { kind: 'passed', detail: `HTTP ${status}, and the body matches` };
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof SearchTooSlow) return failed(error.message);
    return shortageOf(error) ?? failed(toLinkError(error, url.origin).message);
  } finally {
    // Also what of the body nobody has read.
    client.destroy(null, () => undefined);
  }
}

/** As text; what is not UTF-8 is replaced. */
async function beginning(body: Dispatcher.ResponseData['body']): Promise<string> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of body as AsyncIterable<Uint8Array>) {
    chunks.push(chunk);
    sizeBytes += chunk.length;
    if (sizeBytes >= limits.checkBodyBytes) break;
  }
  return Buffer.concat(chunks).subarray(0, limits.checkBodyBytes).toString('utf8');
}

function rangesText({ status }: HttpProbe): string {
  return status.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(', ');
}

function failed(detail: string): Outcome {
  return { kind: 'failed', detail };
}
