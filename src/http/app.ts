/**
 * The route table as a Fastify app. Fastify routes and reads bodies; who may, what is valid and how an answer is
 * written is decided here, in this order: head, caller, role, body, query, handler.
 */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import { fastify, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import type { Logger } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import type { Caller } from '../domain/access.ts';
import { AppError } from '../domain/error.ts';
import { EmptyBody } from '../wire/liveness.ts';
import { statusOf } from '../wire/problem.ts';
import { strictObject } from '../wire/schema.ts';
import { authorise, checkHead, identify, needsCaller, type Entrance } from './auth.ts';
import { readJsonBodies } from './body.ts';
import type { RouteMeter } from './metrics.ts';
import type { Answer, Call, HttpContext } from './operation.ts';
import { asAppError, MethodNotAllowed, problemAnswer } from './problem.ts';
import { isUnderV1, methodsAt, pathOf, type Route } from './routes.ts';
import { createValidators, type Validate } from './validate.ts';

declare module 'fastify' {
  interface FastifyRequest {
    caller: Caller | null;
    startedMs: number;
  }
}

export interface AppOptions {
  readonly context: HttpContext;
  readonly routes: readonly Route[];
  readonly logger: Logger;
  readonly bodyBytes: number;
  /** For requests that met no route. */
  readonly strayMeter: RouteMeter;
  readonly requestIdOf: (request: IncomingMessage) => string;
}

const jsonType = 'application/json; charset=utf-8';
/** A longest name in UTF-8, percent-encoded. */
const paramBytesMax = 253 * 4 * 3;
/** What is left of a refused body up to this size is read and dropped; beyond it the connection is closed. */
const dropBytesMax = 64 * 1_024;

const entranceKey = Symbol('entrance');

/**
 * Notes on a request through which listener it came. (A subclass of IncomingMessage for each listener would need no
 * note; Node makes its own class faster than one derived from it: 1 µs a request.)
 */
export function enterThrough(request: IncomingMessage, entrance: Entrance): void {
  (request as IncomingMessage & { [entranceKey]?: Entrance })[entranceKey] = entrance;
}

export function entranceOf(request: IncomingMessage): Entrance {
  const entrance = (request as IncomingMessage & { [entranceKey]?: Entrance })[entranceKey];
  if (entrance === undefined) throw new Error('a request came through no listener');
  return entrance;
}

export async function createApp(options: AppOptions): Promise<FastifyInstance> {
  const { context, routes, bodyBytes, strayMeter, requestIdOf } = options;
  const answerer = new Answerer(options);
  const app = fastify({
    // Never listens; see server.ts.
    serverFactory: (handler) => createServer(handler),
    genReqId: (request) => requestIdOf(request as IncomingMessage),
    requestIdHeader: false,
    bodyLimit: bodyBytes,
    exposeHeadRoutes: false,
    routerOptions: { caseSensitive: true, maxParamLength: paramBytesMax },
    frameworkErrors: (error, request, reply) => answerer.fail(request, reply, error, strayMeter),
  });
  app.decorateRequest('caller', null);
  app.decorateRequest('startedMs', 0);
  readJsonBodies(app);
  // A route for everything else, rather than a hook that asks each request whether it met one (0.5 µs), or Fastify's
  // own answer, which reads the body first. Methods that Fastify does not know come to its handler, without a body.
  app.all('*', { onRequest: (request, reply) => answerer.stray(request, reply) }, () => {});
  app.setNotFoundHandler((request, reply) => answerer.stray(request, reply));
  app.setErrorHandler((error, request, reply) => answerer.fail(request, reply, error, strayMeter));
  const validators = createValidators();
  for (const route of routes) {
    const { method, path, operation } = route;
    const meter = context.metrics.meter(method, path);
    app.route({
      method: method === 'GET' && !operation.streams ? ['GET', 'HEAD'] : method,
      url: path,
      bodyLimit: operation.bodyMaxBytes ?? bodyBytes,
      onRequest: (request, reply, done) => answerer.admit(route, request, reply, done),
      errorHandler: (error, request, reply) => answerer.fail(request, reply, error, meter),
      handler: answerer.handler(route, meter, {
        query: validators(operation.query ?? strictObject({}), 'query', { optional: true }),
        body: method === 'GET' ? null : validators(operation.body ?? EmptyBody, 'body', { optional: operation.bodyOptional || operation.body === null }),
      }),
    });
  }
  await app.ready();
  return app;
}

/** `X-Request-Id` as it was sent when it is sane, otherwise a fresh one: random for this process, then counted. */
export function requestIds(random: Random): (request: IncomingMessage) => string {
  const prefix = Buffer.from(random.bytes(6)).toString('hex');
  let count = 0;
  return (request) => {
    const sent = request.headers['x-request-id'];
    if (typeof sent === 'string' && /^[\x20-\x7e]{1,128}$/.test(sent)) return sent;
    count += 1;
    return `${prefix}-${count.toString(36)}`;
  };
}

interface RouteValidators {
  readonly query: Validate;
  /** Null: the method has no body. */
  readonly body: Validate | null;
}

class Answerer {
  readonly #context: HttpContext;
  readonly #routes: readonly Route[];
  readonly #logger: Logger;
  readonly #strayMeter: RouteMeter;

  constructor({ context, routes, logger, strayMeter }: AppOptions) {
    this.#context = context;
    this.#routes = routes;
    this.#logger = logger;
    this.#strayMeter = strayMeter;
  }

  /** From the head alone: may this caller do this? Only then is the body read. */
  admit(route: Route, request: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void): void {
    const params = request.params as Call['params'];
    // The router lets a name be empty; a path that ends too early is not that path.
    for (const name in params) if (params[name] === '') return this.stray(request, reply);
    request.startedMs = this.#context.clock.monotonic();
    const { raw } = request;
    const entrance = entranceOf(raw);
    const decide = (caller: Caller | null) => {
      try {
        request.caller = authorise(needsCaller(route.access, entrance) ? route.access : 'open', caller, params['host']);
        if (raw.headers.expect !== undefined) reply.raw.writeContinue();
      } catch (error) {
        return done(error as Error);
      }
      done();
    };
    try {
      checkHead(raw, entrance);
      if (raw.headers['content-encoding'] !== undefined) {
        throw new AppError('unsupported', 'Cannot read an encoded body: expected no Content-Encoding', { field: 'content-encoding' });
      }
      const found = needsCaller(route.access, entrance) ? identify(raw, entrance, this.#context.services.access) : null;
      if (found instanceof Promise) found.then(decide, done);
      else decide(found);
    } catch (error) {
      done(error as Error);
    }
  }

  /** A path or method that is not in the table: `unauthenticated` comes before telling what there is. */
  stray(request: FastifyRequest, reply: FastifyReply): void {
    request.startedMs = this.#context.clock.monotonic();
    this.#refuseStray(request.raw).catch((error: unknown) => {
      const path = pathOf(request.raw.url ?? '');
      const unknownElsewhere = error instanceof AppError && error.code === 'not-found' && !isUnderV1(path);
      if (!unknownElsewhere) return this.fail(request, reply, error, this.#strayMeter);
      // The form of workflow-manager-api, whose paths these are.
      const text = JSON.stringify({ code: 404, message: `path ${path} was not found` });
      this.#write(request, reply, this.#strayMeter, 404, { 'content-type': jsonType }, text);
    });
  }

  async #refuseStray(raw: IncomingMessage): Promise<never> {
    const path = pathOf(raw.url ?? '');
    const entrance = entranceOf(raw);
    checkHead(raw, entrance);
    if (isUnderV1(path)) authorise('known', await identify(raw, entrance, this.#context.services.access), undefined);
    const allow = methodsAt(this.#routes, path);
    if (allow.includes(raw.method ?? '')) throw new AppError('bad-request', 'Cannot read the path: a name in it is too long', { field: 'url' });
    if (allow.length > 0) throw new MethodNotAllowed(raw.method ?? '', path.slice(0, 200), allow);
    throw new AppError('not-found', `Cannot find ${path.slice(0, 200)}: there is no such path here`);
  }

  handler(route: Route, meter: RouteMeter, validators: RouteValidators): (request: FastifyRequest, reply: FastifyReply) => void {
    const { operation } = route;
    return (request, reply) => {
      try {
        const call = this.#callOf(request, validators);
        const answer = operation.creates ? this.#once(route, request, call) : operation.handle(call);
        if (!(answer instanceof Promise)) return this.#answer(request, reply, answer, meter);
        answer.then(
          (value) => this.#answer(request, reply, value, meter),
          (error: unknown) => this.fail(request, reply, error, meter),
        );
      } catch (error) {
        this.fail(request, reply, error, meter);
      }
    };
  }

  #callOf(request: FastifyRequest, validators: RouteValidators): Call {
    const { query, body } = request;
    const queryResult = validators.query(query);
    if (queryResult !== true) throw queryResult.error;
    const bodyResult = validators.body === null ? true : validators.body(body);
    if (bodyResult !== true) throw bodyResult.error;
    if (request.caller === null) throw new Error('a handler was reached without a caller');
    return {
      context: this.#context,
      services: this.#context.services,
      caller: request.caller,
      params: request.params as Call['params'],
      query,
      body,
      requestId: request.id,
      lastEventId: request.raw.headers['last-event-id'] as string | undefined,
    };
  }

  /** A POST that creates, at most once per `Idempotency-Key` where the role remembers them. */
  async #once(route: Route, request: FastifyRequest, call: Call): Promise<Answer> {
    const key = request.raw.headers['idempotency-key'];
    if (key === undefined) return route.operation.handle(call);
    if (typeof key !== 'string' || !/^[\x20-\x7e]{1,128}$/.test(key)) {
      throw new AppError('bad-request', 'Cannot use the Idempotency-Key: expected one of 1 to 128 printable ASCII characters', { field: 'idempotency-key' });
    }
    const { idempotency } = this.#context.services;
    if (idempotency === undefined) return route.operation.handle(call);
    const fingerprint = createHash('sha256').update(`${route.method} ${request.raw.url}\n${JSON.stringify(call.body)}`).digest('hex');
    const stored = await idempotency.run(key, call.caller, fingerprint, async () => {
      const answer = await route.operation.handle(call);
      if (answer.kind !== 'json') throw new Error('a POST that creates answers JSON');
      return { status: answer.status, body: answer.body };
    });
    return { kind: 'json', ...stored };
  }

  #answer(request: FastifyRequest, reply: FastifyReply, answer: Answer, meter: RouteMeter): void {
    switch (answer.kind) {
      case 'json': {
        const headers: Record<string, string> = { 'content-type': jsonType };
        if (answer.etag !== undefined) {
          headers['etag'] = answer.etag;
          const known = request.raw.headers['if-none-match'];
          if (known !== undefined && answer.status === 200 && request.method !== 'PUT' && matchesTag(known, answer.etag)) {
            return this.#write(request, reply, meter, 304, { etag: answer.etag }, '');
          }
        }
        return this.#write(request, reply, meter, answer.status, headers, JSON.stringify(answer.body));
      }
      case 'text':
        return this.#write(request, reply, meter, answer.status, { 'content-type': answer.type }, answer.text);
      case 'empty':
        return this.#write(request, reply, meter, answer.status, {}, '');
      case 'stream':
        meter.observe(200, this.#context.clock.monotonic() - request.startedMs);
        reply.code(200).headers({ 'content-type': answer.type, 'cache-control': 'no-store', 'x-request-id': request.id }).send(answer.stream);
        return;
      case 'takeover':
        meter.observe(200, this.#context.clock.monotonic() - request.startedMs);
        reply.hijack();
        answer.run(request.raw, reply.raw);
    }
  }

  fail(request: FastifyRequest, reply: FastifyReply, error: unknown, meter: RouteMeter): void {
    const told = asAppError(error);
    const fields = { requestId: request.id, method: request.method, path: pathOf(request.raw.url ?? ''), code: told.code, subject: request.caller?.subject };
    if (told.code === 'internal') this.#logger.error({ ...fields, err: error }, 'request failed');
    else if (statusOf(told.code) >= 500) this.#logger.warn({ ...fields, detail: told.message }, 'request refused');
    else this.#logger.debug({ ...fields, detail: told.message }, 'request refused');
    // A stream that breaks after its head can only be cut.
    if (reply.raw.headersSent) return void reply.raw.destroy();
    const { status, headers, text } = problemAnswer(told, request.id);
    this.#write(request, reply, meter, status, leavesMuch(request.raw) ? { ...headers, connection: 'close' } : headers, text);
  }

  /**
   * Text goes to Node directly: what Fastify's reply would add (serializers, onSend hooks, streams) is not used here.
   */
  #write(request: FastifyRequest, reply: FastifyReply, meter: RouteMeter, status: number, headers: Record<string, string>, text: string): void {
    meter.observe(status, this.#context.clock.monotonic() - request.startedMs);
    const { raw } = reply;
    reply.hijack();
    headers['x-request-id'] = request.id;
    if (this.#context.closing()) headers['connection'] = 'close';
    if (status !== 204 && status !== 304) headers['content-length'] = String(Buffer.byteLength(text));
    raw.writeHead(status, headers);
    raw.end(text);
  }
}

function leavesMuch(request: IncomingMessage): boolean {
  if (request.complete) return false;
  const length = request.headers['content-length'];
  return length === undefined ? request.headers['transfer-encoding'] !== undefined : Number(length) > dropBytesMax;
}

/** RFC 9110 §13.1.2: weak comparison, a list, or `*`. */
function matchesTag(known: string, etag: string): boolean {
  return known.trim() === '*' || known.split(',').some((tag) => tag.trim().replace(/^W\//, '') === etag);
}
