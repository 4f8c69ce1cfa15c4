/**
 * The route table as a Fastify app. Fastify finds the route and reads the query; from its first hook on, the exchange
 * is ours (exchange.ts). Its own way to the handler was measured: bodies through its content type parsers cost 30 µs
 * of CPU a heartbeat more, as each makes an AsyncResource, parses the media type and copies; validation and reply
 * hooks would be passed by anyway.
 */
import { createServer, type IncomingMessage } from 'node:http';
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify';
import type { Random } from '../base/random.ts';
import { EmptyBody } from '../wire/liveness.ts';
import { strictObject } from '../wire/schema.ts';
import type { Entrance } from './auth.ts';
import { Exchange, type ExchangeOptions, type Incoming, type Service } from './exchange.ts';
import type { RouteMeter } from './metrics.ts';
import type { Route } from './routes.ts';
import { createValidators } from './validate.ts';

export interface AppOptions extends ExchangeOptions {
  /** For each route without a limit of its own. */
  readonly bodyBytes: number;
  /** For requests that met no route. */
  readonly strayMeter: RouteMeter;
  readonly requestIdOf: (request: IncomingMessage) => string;
}

/** A longest name in UTF-8, percent-encoded. */
const paramBytesMax = 253 * 4 * 3;

export async function createApp(options: AppOptions): Promise<FastifyInstance> {
  const { strayMeter, requestIdOf } = options;
  const app = fastify({
    // Never listens; see server.ts.
    serverFactory: (handler) => createServer(handler),
    genReqId: (request) => requestIdOf(request as IncomingMessage),
    requestIdHeader: false,
    exposeHeadRoutes: false,
    routerOptions: { caseSensitive: true, maxParamLength: paramBytesMax },
    frameworkErrors: (error, request, reply) => exchange(request, reply).fail(error),
  });
  const exchange = (request: FastifyRequest, reply: FastifyReply) => {
    reply.hijack();
    return new Exchange(options, incomingOf(request, reply), strayMeter);
  };
  for (const service of servicesOf(options)) {
    const { method, path, operation } = service.route;
    for (const url of [path, ...withEmptyEnd(path)]) {
      app.route({
        method: method === 'GET' && !operation.streams ? ['GET', 'HEAD'] : method,
        url,
        onRequest: (request, reply) => exchange(request, reply).serve(service),
        handler: unreached,
      });
    }
  }
  // A route for everything else: Fastify's own answer would read the body first. Methods that it does not know come to
  // its handler, without a body.
  app.all('*', { onRequest: (request, reply) => exchange(request, reply).refuseStray() }, unreached);
  app.setNotFoundHandler((request, reply) => exchange(request, reply).refuseStray());
  await app.ready();
  return app;
}

/** Where a path's last name is empty, `/v1/services/`: so that its operation says what is wrong with an empty name. */
function withEmptyEnd(path: string): string[] {
  const name = /\/:\w+$/.exec(path)?.[0];
  return name === undefined ? [] : [path.slice(0, 1 - name.length)];
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

function servicesOf({ context, routes, bodyBytes }: AppOptions): Service[] {
  const validators = createValidators();
  return routes.map((route: Route) => {
    const { method, path, operation } = route;
    const bodyOptional = operation.bodyOptional || operation.body === null;
    return {
      route,
      meter: context.metrics.meter(method, path),
      query: validators(operation.query ?? strictObject({}), 'query', { optional: true }),
      body:
        method === 'GET' ? null : validators(operation.body ?? EmptyBody, 'body', { optional: bodyOptional }),
      bodyBytesMax: operation.bodyMaxBytes ?? bodyBytes,
    };
  });
}

function incomingOf(request: FastifyRequest, reply: FastifyReply): Incoming {
  return {
    request: request.raw,
    response: reply.raw,
    entrance: entranceOf(request.raw),
    requestId: request.id,
    params: (request.params ?? {}) as Incoming['params'],
    query: request.query,
  };
}

function unreached(): never {
  throw new Error('a request went past its exchange');
}
