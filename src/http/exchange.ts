/**
 * One request and its answer, in this order: head, caller, role, body, query, handler. Each step may refuse; nothing
 * is read of a body before its sender is known and may.
 */
import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { limits } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import { visibleJson } from '../base/visible.ts';
import type { Caller } from '../domain/access.ts';
import { AppError } from '../domain/error.ts';
import { statusOf } from '../wire/problem.ts';
import type { Lane } from './admission.ts';
import { anonymous, authorise, checkHead, type Entrance, needsCaller } from './auth.ts';
import { readBody } from './body.ts';
import { basicOf, isBasicUser } from './legacy/basic.ts';
import {
  emptyBody,
  isLegacyPath,
  legacyAnswer,
  legacyType,
  refuseLegacyType,
  unreadableBody,
} from './legacy/form.ts';
import type { RouteMeter } from './metrics.ts';
import { type Answer, type Call, type HttpContext, jsonType } from './operation.ts';
import { asAppError, MethodNotAllowed, problemAnswer } from './problem.ts';
import { authoriseNoted } from './refusal.ts';
import { isUnderV1, methodsAt, pathOf, type Route } from './routes.ts';
import { scopedServices } from './scope.ts';
import type { Validate } from './validate.ts';

/** What all exchanges of a server share. */
export interface ExchangeOptions {
  readonly context: HttpContext;
  readonly routes: readonly Route[];
  readonly logger: Logger;
}

/** A route as it is served. */
export interface Service {
  readonly route: Route;
  readonly meter: RouteMeter;
  readonly lane: Lane;
  /** Where those with a small body are counted; null: with the others. */
  readonly smallLane: Lane | null;
  readonly query: Validate;
  /** Null: the method has no body. */
  readonly body: Validate | null;
  readonly bodyBytesMax: number;
  /** Its body may be compressed. */
  readonly gzip: boolean;
}

export interface Incoming {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly entrance: Entrance;
  readonly requestId: string;
  readonly params: Readonly<Record<string, string>>;
  readonly query: unknown;
}

/** What is left of a refused body up to this size is read and dropped; beyond it the connection is closed. */
const dropBytesMax = 64 * 1_024;

export class Exchange {
  readonly #options: ExchangeOptions;
  readonly #incoming: Incoming;
  readonly #startedMs: number;
  #meter: RouteMeter;
  #caller: Caller | null = null;
  /** Where it is counted while it is under way. */
  #lane: Lane | null = null;
  #turnedAway = false;
  /** Who it is depends on its body. */
  #proves = false;
  /** It takes room when its body is there: nobody stands behind it who could be held to sending that soon. */
  #entersLate = false;
  /** Its path is one of the old wire formats: so is its answer. */
  readonly #legacy: boolean;
  /** It may show a password. */
  #basic = false;

  /** `meter` counts it until a route takes over. */
  constructor(options: ExchangeOptions, incoming: Incoming, meter: RouteMeter) {
    this.#options = options;
    this.#incoming = incoming;
    this.#meter = meter;
    this.#legacy = isLegacyPath(pathOf(incoming.request.url ?? ''));
    this.#startedMs = options.context.clock.monotonic();
  }

  serve(service: Service): void {
    const { request, entrance, params } = this.#incoming;
    // The router lets a name be empty; a path that ends too early is not that path.
    if (hasEmptyName(params)) {
      this.refuseStray();
      return;
    }
    this.#meter = service.meter;
    try {
      checkHead(request, entrance);
      const { admission } = this.#options.context;
      const { access } = service.route;
      this.#proves = access === 'proof';
      this.#entersLate = this.#proves;
      if (this.#proves) admission.requireTrusted(request, entrance);
      this.#basic = service.route.operation.legacy?.basic === true;
      const reader = this.#basic ? this.#basicReader() : null;
      if (reader !== null) {
        this.#admit(service, reader, 'open');
        return;
      }
      if (this.#isAnonymous(service)) {
        this.#options.context.services.access.admit?.();
        if (request.method === 'POST' && service.lane.name === 'checkin')
          admission.requireAnonymousPost(request, entrance);
        this.#entersLate = true;
        this.#admit(service, null, 'open');
        return;
      }
      const needed = needsCaller(access, entrance);
      const found = needed ? admission.identify(request, entrance) : null;
      if (found instanceof Promise) {
        found.then(
          (caller) => this.#admit(service, caller),
          (error: unknown) => this.fail(error),
        );
      } else this.#admit(service, found);
    } catch (error) {
      this.fail(error);
    }
  }

  /** A path or method that is not in the table. Under `/v1` only somebody known is told so. */
  refuseStray(): void {
    this.#refuseStray().catch((error: unknown) => {
      const path = pathOf(this.#incoming.request.url ?? '');
      const unknownElsewhere = error instanceof AppError && error.code === 'not-found' && !isUnderV1(path);
      if (!unknownElsewhere) {
        this.fail(error);
        return;
      }
      // The form of workflow-manager-api, whose paths these are.
      this.#write(
        404,
        { 'content-type': legacyType, ...this.#connection() },
        visibleJson(JSON.stringify({ code: 404, message: `path ${path} was not found` })),
      );
    });
  }

  fail(error: unknown): void {
    const { request, response, entrance, requestId } = this.#incoming;
    const told = asAppError(error);
    if (this.#proves && told.code === 'unauthenticated')
      this.#options.context.admission.noteWrongProof(request, entrance);
    const fields = {
      requestId,
      method: request.method,
      path: pathOf(request.url ?? ''),
      code: told.code,
      subject: this.#caller?.subject,
    };
    const { logger } = this.#options;
    if (told.code === 'internal') logger.error({ ...fields, err: error }, 'request failed');
    else if (statusOf(told.code) >= 500 && !this.#turnedAway)
      logger.warn({ ...fields, detail: told.message }, 'request refused');
    else logger.debug({ ...fields, detail: told.message }, 'request refused');
    // A stream that breaks after its head can only be cut.
    if (response.headersSent) {
      response.destroy();
      this.#leave();
      return;
    }
    const { status, headers, text } = this.#legacy
      ? legacyAnswer(told, requestId, { basic: this.#basic })
      : problemAnswer(told, requestId);
    // Whoever guesses pays for a connection each time.
    const guessed = told.code === 'rate-limited' && (this.#caller === null || this.#proves);
    const connection = guessed ? { connection: 'close' } : this.#connection();
    this.#write(status, { ...headers, ...connection }, text);
  }

  async #refuseStray(): Promise<never> {
    const { request, entrance } = this.#incoming;
    const { context, routes } = this.#options;
    const path = pathOf(request.url ?? '');
    checkHead(request, entrance);
    if (isUnderV1(path))
      this.#caller = authorise('known', await context.admission.identify(request, entrance), undefined);
    const method = request.method ?? '';
    const allow = methodsAt(routes, path);
    if (allow.includes(method))
      throw new AppError('bad-request', 'Cannot read the path: a name in it is too long', { field: 'url' });
    if (allow.length > 0) throw new MethodNotAllowed(method, path.slice(0, 200), allow);
    throw new AppError('not-found', `Cannot find ${path.slice(0, 200)}: there is no such path here`);
  }

  /** Who shows the password of the reader of doctor reports; null when it shows none, `unauthenticated` when it is wrong. */
  #basicReader(): Caller | null {
    const { request, entrance } = this.#incoming;
    const { services, admission } = this.#options.context;
    const shown = basicOf(request);
    if (shown === undefined || entrance.caller !== null) return null;
    services.access.admit?.();
    admission.requireTrusted(request, entrance);
    if (isBasicUser(services.legacy?.doctorReader ?? null, shown))
      return { role: 'viewer', subject: `basic:${shown?.user ?? ''}` };
    admission.noteWrongProof(request, entrance);
    throw new AppError('unauthenticated', 'Cannot accept the user name and password');
  }

  /** Whether somebody who says nothing of who it is may do this. */
  #isAnonymous({ route }: Service): boolean {
    const { request, entrance } = this.#incoming;
    return (
      route.operation.legacy?.anonymous === true &&
      this.#options.context.services.legacy?.anonymous === true &&
      entrance.caller === null &&
      request.headers.authorization === undefined
    );
  }

  /** `opened`: whoever it is, it may. */
  #admit(service: Service, found: Caller | null, opened?: 'open'): void {
    const { request, response, entrance, params } = this.#incoming;
    try {
      const { access } = service.route;
      const allowed = opened ?? (needsCaller(access, entrance) ? access : 'open');
      const { url } = request;
      const { context, logger } = this.#options;
      const asked = { allowed, found, own: params['host'], operation: service.route.operation, url };
      const caller = authoriseNoted(asked, { audit: context.services.audit, logger });
      this.#caller = caller;
      // Nobody knows who proves something before the body is read: whoever sends it slowly shall take no room meanwhile.
      if (!this.#entersLate) this.#enter(service, caller);
      if (request.headers.expect !== undefined) response.writeContinue();
      if (service.body === null) this.#handle(service, caller, undefined);
      else if (this.#legacy) this.#readLegacyBody(service, caller);
      else {
        readBody(request, { bytesMax: service.bodyBytesMax, gzip: service.gzip }, (error, body) =>
          error === null ? this.#handle(service, caller, body) : this.fail(error),
        );
      }
    } catch (error) {
      this.fail(error);
    }
  }

  #readLegacyBody(service: Service, caller: Caller): void {
    const { request } = this.#incoming;
    const refusal = refuseLegacyType(request);
    if (refusal !== undefined) throw refusal;
    readBody(request, { bytesMax: service.bodyBytesMax, gzip: false }, (error, body) => {
      if (error !== null) this.fail(unreadableBody(error));
      else if (body === undefined) this.fail(emptyBody());
      else this.#handle(service, caller, body);
    });
  }

  /** Room for it, and its address has had no more than its share: asked before the body of a known caller is read. */
  #enter(service: Service, caller: Caller): void {
    const { request, entrance } = this.#incoming;
    const lane = service.smallLane !== null && isSmall(request.headers) ? service.smallLane : service.lane;
    try {
      if (lane.name === 'join' && caller.role === 'joiner')
        this.#options.context.admission.requireJoin(request, entrance);
      lane.enter(caller);
      this.#lane = lane;
    } catch (error) {
      this.#turnedAway = true;
      throw error;
    }
  }

  #leave(): void {
    this.#lane?.leave(this.#caller ?? anonymous);
    this.#lane = null;
  }

  #handle(service: Service, caller: Caller, body: unknown): void {
    const { operation } = service.route;
    try {
      const call = this.#callOf(service, caller, body);
      if (this.#entersLate) this.#enter(service, caller);
      const answer = operation.creates ? this.#once(service.route, call) : operation.handle(call);
      if (answer instanceof Promise) {
        answer.then(
          (value) => this.#answer(value),
          (error: unknown) => this.fail(error),
        );
      } else this.#answer(answer);
    } catch (error) {
      this.fail(error);
    }
  }

  #callOf(service: Service, caller: Caller, body: unknown): Call {
    const { request, params, query, requestId } = this.#incoming;
    const { context } = this.#options;
    const queryResult = service.query(query);
    if (queryResult !== true) throw queryResult.error;
    const bodyResult = service.body === null ? true : service.body(body);
    if (bodyResult !== true) throw bodyResult.error;
    const lastEventId = request.headers['last-event-id'] as string | undefined;
    const ifMatch = request.headers['if-match'];
    return {
      context,
      services:
        caller.scope === undefined ? context.services : scopedServices(context.services, caller.scope),
      caller,
      params,
      query,
      body,
      requestId,
      lastEventId,
      ifMatch,
    };
  }

  /** A POST that creates, at most once per `Idempotency-Key` where the role remembers them. */
  async #once(route: Route, call: Call): Promise<Answer> {
    const { request } = this.#incoming;
    const key = request.headers['idempotency-key'];
    // Those who say nothing of who they are share a name, and nobody's answer is another one's.
    if (key === undefined || call.caller === anonymous) return route.operation.handle(call);
    if (typeof key !== 'string' || !/^[\x20-\x7e]{1,128}$/.test(key)) {
      throw new AppError(
        'bad-request',
        'Cannot use the Idempotency-Key: expected one of 1 to 128 printable ASCII characters',
        { field: 'idempotency-key' },
      );
    }
    const { idempotency } = call.services;
    if (idempotency === undefined) return route.operation.handle(call);
    const fingerprint = createHash('sha256')
      .update(`${route.method} ${request.url}\n${JSON.stringify([call.body, call.caller.scope])}`)
      .digest('hex');
    const stored = await idempotency.run(key, call.caller, fingerprint, async () => {
      const answer = await route.operation.handle(call);
      if (answer.kind !== 'json') throw new Error('a POST that creates answers JSON');
      return { status: answer.status, body: answer.body };
    });
    return { kind: 'json', ...stored };
  }

  #answer(answer: Answer): void {
    const { request, response } = this.#incoming;
    switch (answer.kind) {
      case 'json':
        if (this.#isKnown(answer.etag)) break;
        this.#write(
          answer.status,
          answer.etag === undefined
            ? { 'content-type': this.#legacy ? legacyType : jsonType }
            : { 'content-type': jsonType, etag: answer.etag },
          JSON.stringify(answer.body),
        );
        break;
      case 'text':
        if (this.#isKnown(answer.etag)) break;
        this.#write(
          answer.status,
          {
            'content-type': answer.type,
            ...(answer.etag === undefined ? {} : { etag: answer.etag }),
            ...answer.headers,
          },
          answer.text,
        );
        break;
      case 'empty':
        this.#write(answer.status, {}, '');
        break;
      case 'stream': {
        this.#observe(200);
        response.writeHead(200, {
          'content-type': answer.type,
          'cache-control': 'no-store',
          'x-request-id': this.#incoming.requestId,
        });
        const { stream } = answer;
        stream.on('error', (error) => this.fail(error));
        response.on('close', () => {
          stream.destroy();
          this.#leave();
        });
        stream.pipe(response);
        break;
      }
      case 'takeover':
        this.#observe(200);
        response.on('close', () => this.#leave());
        answer.run(request, response);
    }
  }

  #write(status: number, headers: Record<string, string>, text: string): void {
    const { request, response, requestId } = this.#incoming;
    this.#observe(status);
    this.#leave();
    headers['x-request-id'] = requestId;
    if (this.#options.context.closing()) headers['connection'] = 'close';
    const bytes = Buffer.byteLength(text);
    if (status !== 204 && status !== 304) headers['content-length'] = String(bytes);
    response.writeHead(status, headers);
    // What is ASCII is cheaper to hand on as Latin-1.
    const encoding = bytes === text.length ? 'latin1' : 'utf8';
    const { socket } = response;
    if (socket === null || text === '' || request.method === 'HEAD') response.end(text, encoding);
    else {
      // `end(text)` makes two chunks of it, one with all and an empty one, and so a gathered write; one chunk is a plain
      // write, 1 µs less.
      socket.cork();
      response.write(text, encoding);
      socket.uncork();
      response.end();
    }
  }

  /** Answers 304 when whoever reads has this one. */
  #isKnown(etag: string | undefined): boolean {
    const { method, headers } = this.#incoming.request;
    const known = headers['if-none-match'];
    if (etag === undefined || known === undefined || (method !== 'GET' && method !== 'HEAD')) return false;
    if (!matchesTag(known, etag)) return false;
    this.#write(304, { etag }, '');
    return true;
  }

  #observe(status: number): void {
    this.#meter.observe(status, this.#options.context.clock.monotonic() - this.#startedMs);
  }

  /** For refusals: whether what is left of the body is worth reading to keep the connection. */
  #connection(): Record<string, string> {
    const { request } = this.#incoming;
    if (request.complete) return {};
    const length = request.headers['content-length'];
    const much =
      length === undefined
        ? request.headers['transfer-encoding'] !== undefined
        : Number(length) > dropBytesMax;
    return much ? { connection: 'close' } : {};
  }
}

/** That the body is small, also once it is read: what comes in chunks or compressed may be of any size. */
function isSmall(headers: IncomingMessage['headers']): boolean {
  const length = headers['content-length'];
  return (
    length !== undefined &&
    Number(length) <= limits.smallBodyBytes &&
    headers['content-encoding'] === undefined
  );
}

function hasEmptyName(params: Incoming['params']): boolean {
  for (const name in params) if (params[name] === '') return true;
  return false;
}

/** RFC 9110 §13.1.2: weak comparison, a list, or `*`. */
function matchesTag(known: string, etag: string): boolean {
  return known.trim() === '*' || known.split(',').some((tag) => tag.trim().replace(/^W\//, '') === etag);
}
