/**
 * One server to talk to: requests with a deadline, retries where they do no harm, and answers that are believed only
 * when they are a Holdfast server's. Nothing is loaded or opened before the first call.
 */
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import type { Dispatcher, Pool } from 'undici';
import type { Clock } from '../base/clock.ts';
import type { Random } from '../base/random.ts';
import { retry } from '../base/retry.ts';
import { VERSION } from '../base/version.ts';
import { AppError, isAppError } from '../domain/error.ts';
import { parseJson } from '../wire/json.ts';
import { fromProblem, problemMediaType } from '../wire/problem.ts';
import { createDial, type Dial } from './dial.ts';
import { LinkError, toLinkError } from './link.ts';
import { isLoopback, type ProxySettings } from './proxy.ts';
import { type Answer, type ApiRequest, pathWithQuery, type Query } from './request.ts';
import type { TlsTrust } from './tls.ts';

/** A URL (a path in it is a prefix, for servers behind a proxy), or the path of a server's Unix socket. */
export type Target = { readonly url: string } | { readonly socket: string };

export interface ConnectionOptions {
  readonly target: Target;
  /** Bearer token; a Unix socket needs none. */
  readonly token?: string;
  /** Whose certificate is believed, for https; absent: one that this machine's roots have signed. */
  readonly tls?: TlsTrust;
  /** None when absent: an environment is read by whoever owns it. */
  readonly proxy?: ProxySettings;
  readonly clock: Clock;
  readonly random: Random;
  /** For a whole call, its retries included. */
  readonly timeoutMs?: number;
  /** Attempts in all of a call that may be retried. */
  readonly attemptsMax?: number;
  /** Ends every call; they throw its reason. */
  readonly signal?: AbortSignal;
}

/** What a client holds of its server, and gives up at: a page of 1,000 records is 400 KB, 10,000 packages are 2 MB. */
export const answerBytesMax = 16 * 1_024 * 1_024;
export const timeoutDefaultMs = 10_000;
export const attemptsDefaultMax = 3;
const retryBackoff = { baseMs: 100, capMs: 2_000 };
/** Calls at the same time; further ones wait their turn. */
const socketsMax = 8;

/**
 * Bodies below fit a packet or two as they are. The complete check-in of a Debian with 873 packages went from 78,160 to 9,235 bytes,
 * 8.5 times less, in 0.8 ms on a thread of its own (level 1: 7.2 times less, level 9: 8.8 times less in 2 ms).
 */
const gzipMinLength = 4 * 1_024;
const gzipLevel = 6;
const compress = promisify(gzip);

/** An answer whose body the caller reads. */
export interface StreamAnswer {
  readonly mediaType: string;
  readonly body: AsyncIterable<Uint8Array>;
}

export class Connection {
  readonly target: Target;
  /** The server as people know it: `http://127.0.0.1:7420`, `/run/holdfast/agent/admin.sock`. Never a secret. */
  readonly label: string;
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal | undefined;
  readonly #options: ConnectionOptions;
  readonly #origin: Origin;
  readonly #pool: SharedPool;

  /**
   * `bad-request` when the target is no http(s) URL, holds credentials, would send a token in the clear or to whom
   * nobody has verified, and for a CA or a proxy that cannot be one.
   */
  constructor(options: ConnectionOptions, pool?: SharedPool) {
    this.#options = options;
    this.#origin = originOf(options);
    this.#pool = pool ?? createPool(this.#origin, options);
    this.target = options.target;
    this.label = this.#origin.label;
    this.timeoutMs = options.timeoutMs ?? timeoutDefaultMs;
    this.clock = options.clock;
    this.random = options.random;
    this.signal = options.signal;
  }

  /** The same connection with another signal or deadline. Closing one closes both. */
  with(options: { signal?: AbortSignal; timeoutMs?: number }): Connection {
    return new Connection({ ...this.#options, ...options }, this.#pool);
  }

  /**
   * Throws what the server answered as the error that it was there; `LinkError` when it did not answer; the signal's
   * reason when aborted.
   */
  async call<T>(request: ApiRequest<T>): Promise<Answer<T>> {
    const { clock, random, timeoutMs } = this;
    const deadline = startDeadline(clock, timeoutMs, this.signal);
    const headers = this.#headers(request, random);
    const mayRepeat = request.idempotent ?? request.method === 'GET';
    let failure: unknown;
    try {
      return await retry(() => this.#attempt(request, headers, deadline.signal), {
        ...retryBackoff,
        clock,
        random,
        attemptsMax: mayRepeat ? (this.#options.attemptsMax ?? attemptsDefaultMax) : 1,
        shouldRetry: (error) => {
          failure = error;
          // A server that wants to be left alone for longer than we have time is told to the caller at once.
          return isPassing(error) && ((error as AppError).retryAfterMs ?? 0) < deadline.leftMs();
        },
        signal: deadline.signal,
      });
    } catch (error) {
      this.signal?.throwIfAborted();
      if (!deadline.passed()) throw error;
      // The deadline ended a wait between attempts: what the last one met says more than "too late".
      if (failure !== undefined) throw failure;
      throw this.timedOut();
    } finally {
      deadline.cancel();
    }
  }

  /** The answer's headers within the deadline, its body as slowly as it comes, until `signal` ends it. */
  async open(
    path: string,
    options: { accept: string; query?: Query; signal?: AbortSignal },
  ): Promise<StreamAnswer> {
    const { accept, query, signal = this.signal } = options;
    const deadline = startDeadline(this.clock, this.timeoutMs, signal);
    try {
      const response = await this.#dispatch(
        { method: 'GET', path: pathWithQuery(path, query), headers: this.headers({ accept }) },
        deadline.signal,
      );
      if (response.statusCode === 200) {
        return { mediaType: mediaTypeOf(response), body: this.#chunks(response) };
      }
      throw this.#refusal(response, await this.#text(response));
    } catch (error) {
      signal?.throwIfAborted();
      if (deadline.passed()) throw this.timedOut();
      throw toLinkError(error, this.label);
    } finally {
      deadline.cancel();
    }
  }

  /** What goes with every request, for those that another library makes (the WebSocket's). */
  headers(more: Readonly<Record<string, string>> = {}): Record<string, string> {
    const { token } = this.#options;
    return {
      'user-agent': `holdfast/${VERSION}`,
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...more,
    };
  }

  /** Where the WebSocket goes; what is below it comes from `dial`. */
  webSocketUrl(path: string): string {
    const { url, prefix } = this.#origin;
    return `${url.replace(/^http/, 'ws')}${prefix}${path}`;
  }

  /** A connection beside those of the requests, made in the same way. */
  get dial(): Dial {
    return this.#pool.dial;
  }

  timedOut(): LinkError {
    return new LinkError(
      'timed-out',
      `Cannot wait longer for ${this.label}: no answer within ${this.timeoutMs / 1_000} s`,
    );
  }

  /** Aborted by `close`: ends what does not go through the pool. */
  get closed(): AbortSignal {
    return this.#pool.closed;
  }

  /** Ends what is still running; later calls fail. */
  close(): Promise<void> {
    return this.#pool.close();
  }

  async #attempt<T>(
    request: ApiRequest<T>,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<Answer<T>> {
    const text = request.body === undefined ? null : JSON.stringify(request.body);
    const isLarge = text !== null && text.length >= gzipMinLength;
    if (!isLarge || request.gzip !== true || !this.#pool.takesGzip)
      return this.#send(request, { headers, body: text }, signal);
    const body = await compress(text, { level: gzipLevel });
    try {
      return await this.#send(request, { headers: { ...headers, 'content-encoding': 'gzip' }, body }, signal);
    } catch (error) {
      if (!isAppError(error, 'unsupported')) throw error;
      // An older server: it has read nothing of it, and is not asked so again.
      this.#pool.takesGzip = false;
      return this.#send(request, { headers, body: text }, signal);
    }
  }

  async #send<T>(
    request: ApiRequest<T>,
    content: { readonly headers: Record<string, string>; readonly body: string | Buffer | null },
    signal: AbortSignal,
  ): Promise<Answer<T>> {
    try {
      const { method } = request;
      const path = pathWithQuery(request.path, request.query);
      const response = await this.#dispatch({ method, path, ...content }, signal);
      const text = await this.#text(response);
      if (response.statusCode < 200 || response.statusCode > 299) throw this.#refusal(response, text);
      const document = await this.#document(request, response, text);
      return { status: response.statusCode, text, document, headers: firstOf(response.headers) };
    } catch (error) {
      signal.throwIfAborted();
      throw toLinkError(error, this.label);
    }
  }

  async #dispatch(
    request: Dispatcher.DispatchOptions,
    signal: AbortSignal,
  ): Promise<Dispatcher.ResponseData> {
    const pool = await this.#pool.get();
    // Our deadline is the only one: undici's own timers run on the wall clock of the process.
    return pool.request({
      ...request,
      path: this.#origin.prefix + request.path,
      signal,
      headersTimeout: 0,
      bodyTimeout: 0,
    });
  }

  async *#chunks(response: Dispatcher.ResponseData): AsyncGenerator<Uint8Array> {
    try {
      yield* response.body as AsyncIterable<Uint8Array>;
    } catch (error) {
      throw toLinkError(error, this.label);
    }
  }

  async #text(response: Dispatcher.ResponseData): Promise<string> {
    const chunks: Uint8Array[] = [];
    let sizeBytes = 0;
    for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
      sizeBytes += chunk.length;
      if (sizeBytes > answerBytesMax) throw this.#foreign(`is larger than ${answerBytesMax / 1_048_576} MiB`);
      chunks.push(chunk);
    }
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks));
    } catch {
      throw this.#foreign('is not UTF-8');
    }
  }

  async #document<T>(request: ApiRequest<T>, response: Dispatcher.ResponseData, text: string): Promise<T> {
    const { schema } = request.answer;
    if (schema === null) {
      if (response.statusCode === 204) return undefined as T;
      throw this.#foreign(`is HTTP ${response.statusCode} where 204 was expected`);
    }
    const mediaType = mediaTypeOf(response);
    if (mediaType !== 'application/json')
      throw this.#foreign(`is ${mediaType === '' ? 'of no type' : mediaType}, not JSON`);
    const value = parseJsonOrNothing(text);
    const { Check, Clean } = await import('typebox/value');
    if (value === undefined) throw this.#foreign('is no valid JSON');
    const known = Clean(schema, value);
    if (!Check(schema, known))
      throw this.#foreign(`to ${request.method} ${request.path} has an unknown shape`);
    return known as T;
  }

  #refusal(response: Dispatcher.ResponseData, text: string): AppError {
    const { statusCode } = response;
    const body = mediaTypeOf(response) === problemMediaType ? parseJsonOrNothing(text) : undefined;
    const passing = statusCode === 408 || statusCode === 429 || statusCode >= 500;
    // A proxy that says 502 is obeyed like our own server; one that redirects or asks for its own login is not ours.
    if (body === undefined && !passing)
      return this.#foreign(`is HTTP ${statusCode} without a problem document`);
    return fromProblem(statusCode, body, retryAfterMsOf(response, this.clock.now()));
  }

  #foreign(what: string): LinkError {
    return new LinkError(
      'foreign',
      `Cannot use the answer of ${this.label}: it ${what}; is a proxy or login page in between?`,
    );
  }

  #headers(request: ApiRequest, random: Random): Record<string, string> {
    return this.headers({
      accept: `application/json, ${problemMediaType}`,
      ...(request.body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(request.ifMatch == null ? {} : { 'if-match': ifMatchText(request.ifMatch) }),
      ...(request.creates === true
        ? { 'idempotency-key': Buffer.from(random.bytes(16)).toString('hex') }
        : {}),
    });
  }
}

function ifMatchText(condition: readonly number[] | '*'): string {
  return condition === '*' ? condition : condition.map((version) => `"${version}"`).join(', ');
}

/** Whether waiting may help: the server is away or busy, not wrong. */
export function isPassing(error: unknown): boolean {
  if (error instanceof LinkError) return error.failure === 'unreachable';
  return error instanceof AppError && ['unavailable', 'rate-limited', 'too-slow'].includes(error.code);
}

interface Origin {
  readonly label: string;
  readonly url: string;
  readonly prefix: string;
  readonly socketPath?: string;
}

function originOf({ target, token, tls }: ConnectionOptions): Origin {
  if ('socket' in target)
    return { label: target.socket, url: 'http://localhost', prefix: '', socketPath: target.socket };
  const url = URL.canParse(target.url) ? new URL(target.url) : undefined;
  if (url === undefined || !['http:', 'https:'].includes(url.protocol)) {
    throw new AppError(
      'bad-request',
      `Cannot use the URL "${target.url}": expected one like https://registry.example:7420`,
      {
        field: 'url',
      },
    );
  }
  if (url.username !== '' || url.password !== '') {
    throw new AppError(
      'bad-request',
      'Cannot use the URL: it holds a user name or password, pass a token instead',
      { field: 'url' },
    );
  }
  if (token !== undefined && url.protocol === 'http:' && !isLoopback(url.hostname)) {
    throw new AppError(
      'bad-request',
      `Cannot use ${url.origin} with a token: it would travel unencrypted, use https`,
      { field: 'url' },
    );
  }
  if (token !== undefined && tls !== undefined && 'unverified' in tls) {
    throw new AppError(
      'bad-request',
      `Cannot use ${url.origin} with a token: nobody has verified who it is`,
      {
        field: 'tls',
      },
    );
  }
  const prefix = url.pathname.replace(/(?<!\/)\/+$/, '');
  return { label: url.origin + prefix, url: url.origin, prefix };
}

interface SharedPool {
  /** Until it has refused a compressed body. */
  takesGzip: boolean;
  /** Aborted by `close`, with what later calls throw. */
  readonly closed: AbortSignal;
  readonly dial: Dial;
  get(): Promise<Pool>;
  close(): Promise<void>;
}

/** undici takes 60–90 ms to load (it pulls in TLS and HTTP/2), which nobody pays who only starts up. */
function createPool(origin: Origin, options: ConnectionOptions): SharedPool {
  const { tls, proxy = {}, clock, timeoutMs = timeoutDefaultMs } = options;
  const { label, url, socketPath } = origin;
  let pool: Promise<Pool> | undefined;
  const closing = new AbortController();
  const dial = createDial({
    server: socketPath ?? new URL(url),
    label,
    tls,
    proxy,
    clock,
    timeoutMs,
    closed: closing.signal,
  });
  const open = async () => {
    const undici = await import('undici');
    return new undici.Pool(url, {
      connections: socketsMax,
      allowH2: false,
      connect: (_target, connected) => {
        dial().then(
          (socket) => connected(null, socket),
          (error: Error) => connected(error, null),
        );
      },
    });
  };
  return {
    takesGzip: true,
    closed: closing.signal,
    dial,
    get() {
      closing.signal.throwIfAborted();
      pool ??= open();
      return pool;
    },
    async close() {
      closing.abort(new AppError('internal', 'Cannot call: the client is closed'));
      await (await pool)?.destroy();
    },
  };
}

interface Deadline {
  /** Aborts when the time is over or the caller's signal does. */
  readonly signal: AbortSignal;
  leftMs(): number;
  passed(): boolean;
  /** Stops the time, and leaves the caller's signal: a stream that was opened goes on. */
  cancel(): void;
}

function startDeadline(clock: Clock, timeoutMs: number, signal: AbortSignal | undefined): Deadline {
  const over = new AbortController();
  const endMs = clock.monotonic() + timeoutMs;
  const cancel = clock.after(timeoutMs, () => over.abort(new Error('the deadline has passed')));
  return {
    signal: signal === undefined ? over.signal : AbortSignal.any([over.signal, signal]),
    leftMs: () => endMs - clock.monotonic(),
    passed: () => over.signal.aborted,
    cancel,
  };
}

function firstOf(headers: Dispatcher.ResponseData['headers']): Record<string, string | undefined> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, Array.isArray(value) ? value[0] : value]),
  );
}

function mediaTypeOf(response: Dispatcher.ResponseData): string {
  const header = response.headers['content-type'];
  const text = Array.isArray(header) ? header[0] : header;
  return (text ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
}

/** RFC 9110 §10.2.3: seconds, or a date. */
export function retryAfterMsOf(
  response: Pick<Dispatcher.ResponseData, 'headers'>,
  now: number,
): number | undefined {
  const header = response.headers['retry-after'];
  if (typeof header !== 'string') return undefined;
  if (/^\d{1,9}$/.test(header)) return Number(header) * 1_000;
  const dateMs = Date.parse(header);
  return Number.isNaN(dateMs) ? undefined : Math.max(0, dateMs - now);
}

/** undefined when it is none, or deeper than we read; JSON itself has no undefined. */
export function parseJsonOrNothing(text: string): unknown {
  try {
    return parseJson(text);
  } catch {
    return undefined;
  }
}
