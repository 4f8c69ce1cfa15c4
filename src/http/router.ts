/**
 * The route table in find-my-way, Fastify's own router. It finds the route and reads the query; from there on the
 * exchange is ours (exchange.ts). Fastify around it was measured: its request and reply objects, its hook
 * and the hijack cost 6 µs of CPU a request, loading it 80 ms of CPU and 4 MiB at the start, and bodies through its
 * content type parsers 30 µs a heartbeat. No part of it was left in use.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import createFindMyWay from 'find-my-way';
import { limits } from '../base/limits.ts';
import type { Random } from '../base/random.ts';
import { AppError } from '../domain/error.ts';
import { EmptyBody } from '../wire/liveness.ts';
import { strictObject } from '../wire/schema.ts';
import type { Entrance } from './auth.ts';
import { Exchange, type ExchangeOptions, type Incoming, type Service } from './exchange.ts';
import type { RouteMeter } from './metrics.ts';
import { hasHead, type Route } from './routes.ts';
import { createValidators } from './validate.ts';

export interface RouterOptions extends ExchangeOptions {
  /** For each route without a limit of its own. */
  readonly bodyBytes: number;
  /** For requests that met no route. */
  readonly strayMeter: RouteMeter;
  readonly requestIdOf: (request: IncomingMessage) => string;
}

/** Takes a request through its exchange; the caller has noted its entrance (`enterThrough`). */
export type Serve = (request: IncomingMessage, response: ServerResponse) => void;

/** A longest name in UTF-8, percent-encoded. */
const paramBytesMax = limits.nameLengthMax * 4 * 3;

export function createRouter(options: RouterOptions): Serve {
  const { strayMeter, requestIdOf } = options;
  const exchange = (
    request: IncomingMessage,
    response: ServerResponse,
    params: Incoming['params'],
    query: unknown,
  ) => {
    const incoming = {
      request,
      response,
      entrance: entranceOf(request),
      requestId: requestIdOf(request),
      params,
      query,
    };
    return new Exchange(options, incoming, strayMeter);
  };
  const serveStray: Serve = (request, response) => exchange(request, response, {}, {}).refuseStray();
  const router = createFindMyWay({
    caseSensitive: true,
    maxParamLength: paramBytesMax,
    // Methods that Node knows and the router does not.
    defaultRoute: serveStray,
    onBadUrl: (_path, request, response) =>
      exchange(request, response, {}, {}).fail(
        new AppError('bad-request', 'Cannot read the path: it is not valid percent-encoded UTF-8', {
          field: 'url',
        }),
      ),
  });
  for (const service of servicesOf(options)) {
    const { method, path, operation } = service.route;
    for (const url of [path, ...(operation.legacy === null ? withEmptyEnd(path) : [])]) {
      router.on(
        hasHead(service.route) ? ['GET', 'HEAD'] : method,
        url,
        (request, response, params, _store, query) =>
          exchange(request, response, params as Incoming['params'], query).serve(service),
      );
    }
  }
  // Everything else, also names that are too long. (A default route alone would pass over paths that cannot be read.)
  router.all('*', serveStray);
  return (request, response) => router.lookup(request, response);
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

function servicesOf({ context, routes, bodyBytes }: RouterOptions): Service[] {
  const validators = createValidators();
  return routes.map((route: Route) => {
    const { method, path, operation } = route;
    const bodyOptional = operation.bodyOptional || operation.body === null;
    return {
      route,
      meter: context.metrics.meter(method, path),
      lane: context.admission.laneOf(operation.requestClass),
      smallLane: operation.smallClass === null ? null : context.admission.laneOf(operation.smallClass),
      query:
        operation.legacy === null
          ? validators(operation.query ?? strictObject({}), 'query', { optional: true })
          : () => true,
      body:
        method === 'GET'
          ? null
          : operation.legacy !== null
            ? () => true
            : validators(operation.body ?? EmptyBody, 'body', { optional: bodyOptional }),
      bodyBytesMax: operation.bodyMaxBytes ?? bodyBytes,
      gzip: operation.gzip,
    };
  });
}
