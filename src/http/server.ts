/**
 * The server of a role: one router, any number of listeners; each has its own callers, all share the limits.
 */
import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from 'node:http';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Clock } from '../base/clock.ts';
import { createGroup, type Group } from '../base/group.ts';
import { limits as standardLimits } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import { createInstantFormatter } from '../base/time.ts';
import { AppError } from '../domain/error.ts';
import { paths } from '../wire/paths.ts';
import { statusOf } from '../wire/problem.ts';
import { Admission, type AdmissionOptions, ConnectionCounts, networkOf } from './admission.ts';
import { checkHead, type Entrance, headersMax } from './auth.ts';
import { HostHistory } from './host-history.ts';
import { swaggerDocument } from './legacy/swagger.ts';
import { type Bound, bind, entranceThrough, type Listener, type TlsPair, type TlsSource } from './listen.ts';
import { Metrics, type RouteMeter, type Sample } from './metrics.ts';
import { openApiDocument } from './openapi.ts';
import type { HttpContext, HttpServices, Kind } from './operation.ts';
import { asAppError, problemBytes } from './problem.ts';
import { authoriseNoted } from './refusal.ts';
import { createRouter, enterThrough, entranceOf, requestIds, type Serve } from './router.ts';
import { checkRoutes, methodsAt, pathOf, type Route, routesOf } from './routes.ts';
import type { WatchLimits } from './subscription.ts';
import { createWatchEndpoint, type WatchEndpoint, watch } from './watch.ts';
import { WatchHub } from './watch-hub.ts';

export interface HttpServerOptions {
  readonly kind: Kind;
  readonly services: HttpServices;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly version: string;
  readonly commit: string;
  /** What differs from the limits of `base/limits.ts`. */
  readonly limits?: Partial<HttpLimits>;
  /** Numbers of the role's own at `/metrics`, read at each scrape. */
  readonly samples?: () => readonly Sample[];
}

export interface HttpLimits extends Partial<WatchLimits>, Partial<AdmissionOptions['limits']> {
  readonly headerTimeMs: number;
  readonly requestTimeMs: number;
  readonly silenceMs: number;
  readonly connectionsMax: number;
  readonly addressConnectionsMax: number;
  /** For each route without a limit of its own. */
  readonly bodyBytes: number;
  /** How long requests in flight may take when the server closes. */
  readonly drainMs: number;
}

export interface HttpServer {
  /** Binds each in turn; `Bound.url` tells where. When one cannot be bound the others stay, and `close` undoes them. */
  listen(listeners: readonly Listener[]): Promise<readonly Bound[]>;
  /**
   * Stops accepting, tells watchers where to resume, lets requests in flight finish within `drainMs`, cuts the rest.
   * Resolves when every socket is closed. Calling it twice is harmless.
   */
  close(): Promise<void>;
}

const httpLimits: HttpLimits = {
  headerTimeMs: standardLimits.headerTimeMs,
  requestTimeMs: standardLimits.requestTimeMs,
  silenceMs: standardLimits.silenceMs,
  connectionsMax: standardLimits.connectionsMax,
  addressConnectionsMax: standardLimits.addressConnectionsMax,
  bodyBytes: standardLimits.bodyBytes,
  drainMs: 5_000,
};

/** How often Node looks for requests that are too slow: what their limits are rounded up to. */
const slowCheckMs = 1_000;
/** Longer than the idle time of common proxies (60 s), so that it is they who close. */
const keepAliveMs = 75_000;
/** How long a peer that is turned away may take to take it. */
const goodbyeMs = 1_000;

/** Throws when the route table is wrong, before anything listens. */
export async function createHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const { kind, services, clock, logger, version, commit } = options;
  const limits = { ...httpLimits, ...options.limits };
  const routes = routesOf(kind);
  checkRoutes(routes);
  const group = createGroup((name, error) =>
    logger.error({ err: error, work: name }, 'background work failed'),
  );
  const sockets = new Set<Socket>();
  const secured = new Set<Socket>();
  let openApi: string | undefined;
  let swagger: string | undefined;
  let closing = false;
  const admission = new Admission({
    clock,
    random: options.random,
    access: services.access,
    limits: { ...standardLimits, ...options.limits },
  });
  const metrics = new Metrics({
    admission,
    samples: options.samples ?? (() => []),
    sockets: () => watchEndpoint.size,
    connections: () => sockets.size,
    startedMs: clock.now(),
  });
  const context: HttpContext = {
    kind,
    services,
    clock,
    formatInstant: createInstantFormatter(),
    version,
    commit,
    metrics,
    admission,
    history: services.hostFacts === undefined ? null : new HostHistory(services.log, services.hostFacts),
    hub: new WatchHub({ log: services.log, snapshots: services.snapshots, clock, logger, group, limits }),
    openApi: () => (openApi ??= JSON.stringify(openApiDocument(routes, { kind, version }))),
    swagger: () => (swagger ??= JSON.stringify(swaggerDocument(routes, version))),
    closing: () => closing,
  };
  const watchEndpoint = createWatchEndpoint(context, logger);
  const strayMeter = metrics.meter('', 'none');
  const requestIdOf = requestIds(options.random);
  const route = createRouter({
    context,
    routes,
    logger,
    strayMeter,
    requestIdOf,
    bodyBytes: limits.bodyBytes,
  });
  const parts = {
    route,
    context,
    routes,
    group,
    sockets,
    secured,
    watchEndpoint,
    strayMeter,
    requestIdOf,
    limits,
    connections: new ConnectionCounts(limits.addressConnectionsMax),
    logger,
  };
  const servers: AnyServer[] = [];
  const bound: Bound[] = [];

  const close = async () => {
    closing = true;
    const closed = servers.map(closeServer);
    for (const place of bound) await place.release();
    context.hub.close('shutdown');
    context.history?.close();
    watchEndpoint.close();
    // Node counts a connection that has not said anything yet as busy.
    for (const socket of [...sockets, ...secured]) if (socket.bytesRead === 0) socket.destroy();
    const cancelCut = clock.after(limits.drainMs, () => {
      for (const socket of sockets) socket.destroy();
    });
    await Promise.all(closed);
    cancelCut();
    await group.drained();
  };
  let closed: Promise<void> | undefined;

  return {
    async listen(listeners) {
      const places: Bound[] = [];
      for (const listener of listeners) {
        const tls = listener.kind === 'tcp' ? listener.tls : undefined;
        const server = createEntrance(entranceThrough(listener), parts, tls);
        const place = await bind(server, listener);
        servers.push(server);
        bound.push(place);
        places.push(place);
      }
      return places;
    },
    close: () => (closed ??= close()),
  };
}

interface Parts {
  readonly route: Serve;
  readonly context: HttpContext;
  readonly routes: readonly Route[];
  readonly group: Group;
  readonly sockets: Set<Socket>;
  /** The inner sides of those that speak TLS: they count what was said, the outer ones a handshake too. */
  readonly secured: Set<Socket>;
  readonly watchEndpoint: WatchEndpoint;
  readonly strayMeter: RouteMeter;
  readonly requestIdOf: (request: IncomingMessage) => string;
  readonly limits: HttpLimits;
  readonly connections: ConnectionCounts;
  readonly logger: Logger;
}

type AnyServer = Server | TlsServer;

/** The HTTP server of one listener. */
function createEntrance(entrance: Entrance, parts: Parts, tls: TlsSource | undefined): AnyServer {
  const { route, group, sockets, secured, limits } = parts;
  const options = {
    maxHeaderSize: standardLimits.headersBytes,
    headersTimeout: limits.headerTimeMs,
    requestTimeout: limits.requestTimeMs,
    connectionsCheckingInterval: Math.min(slowCheckMs, limits.headerTimeMs),
    keepAliveTimeout: keepAliveMs,
    keepAlive: true,
    keepAliveInitialDelay: 30_000,
    // Spares a request without a body its stream's events, which nobody listens to: 0.5 to 2 µs.
    optimizeEmptyRequests: true,
    // We ask for Host ourselves: Node's own refusal has no body.
    requireHostHeader: false,
    // Any other upgrade (h2c) is an offer that one may pass over.
    shouldUpgradeCallback: (request: IncomingMessage) =>
      request.headers.upgrade?.toLowerCase() === 'websocket',
  };
  const server = tls === undefined ? createServer(options) : createTlsEntrance(options, tls, limits);
  server.maxConnections = limits.connectionsMax;
  // Also of one that asks and does not read: its answers would wait for good.
  server.timeout = limits.silenceMs;
  // Node drops further headers without a word; one more than the most, so that `checkHead` sees that there are too many.
  server.maxHeadersCount = headersMax + 1;
  const serve = (request: IncomingMessage, response: ServerResponse) => {
    enterThrough(request, entrance);
    route(request, response);
  };
  server.on('request', serve);
  // `100 Continue` is said once the caller is known (exchange.ts), so that a refused body is never sent.
  server.on('checkContinue', serve);
  server.on('checkExpectation', serve);
  server.on('upgrade', (request, socket, head) => {
    enterThrough(request, entrance);
    group.own('upgrade', upgrade(request, socket, head, parts));
  });
  server.on('clientError', (error, socket) => refuseBytes(error, socket, parts));
  if (entrance.caller === null && !entrance.loopback && !entrance.behindProxy)
    server.on('connection', (socket) => limitAddress(socket, parts.connections));
  keepWhileOpen(server, 'connection', sockets);
  keepWhileOpen(server, 'secureConnection', secured);
  return server;
}

/** Behind a proxy, and on this machine, one address is everybody. */
function limitAddress(socket: Socket, connections: ConnectionCounts): void {
  const address = networkOf(socket.remoteAddress ?? '');
  if (connections.enter(address)) socket.on('close', () => connections.leave(address));
  else socket.destroy();
}

function keepWhileOpen(server: AnyServer, event: string, sockets: Set<Socket>): void {
  server.on(event, (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
}

function createTlsEntrance(options: ServerOptions, tls: TlsSource, limits: HttpLimits): TlsServer {
  const secure = (pair: TlsPair) => ({ ...pair, minVersion: 'TLSv1.3' as const });
  const server = createTlsServer({
    ...options,
    ...secure(tls.current()),
    handshakeTimeout: limits.headerTimeMs,
  });
  // Connections that are open keep theirs; whoever comes from now on gets the new one.
  const unsubscribe = tls.subscribe((pair) => server.setSecureContext(secure(pair)));
  server.on('close', unsubscribe);
  // Node hands a failed handshake on as a `clientError`, whose answer would wait for the handshake for good.
  server.removeAllListeners('tlsClientError');
  server.on('tlsClientError', (_error, socket) => socket.destroy());
  return server;
}

/** A WebSocket is asked for: the same questions as for any request, answered before it is one. */
async function upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, parts: Parts): Promise<void> {
  const { context, routes, watchEndpoint, strayMeter, requestIdOf, logger } = parts;
  socket.on('error', () => socket.destroy());
  try {
    const entrance = entranceOf(request);
    checkHead(request, entrance);
    const path = pathOf(request.url ?? '');
    const found = await context.admission.identify(request, entrance);
    const caller = authoriseNoted(
      {
        allowed: path === paths.watch ? watchAccess(routes) : 'known',
        found,
        own: undefined,
        operation: watch,
        url: request.url,
      },
      { audit: context.services.audit, logger },
    );
    if (path !== paths.watch) {
      const known = methodsAt(routes, path).length > 0;
      throw new AppError(
        known ? 'bad-request' : 'not-found',
        `Cannot upgrade ${path}: WebSockets are at ${paths.watch}`,
        { field: 'upgrade' },
      );
    }
    if (context.closing())
      throw new AppError('unavailable', 'Cannot watch: this server is shutting down', {
        retryAfterMs: 1_000,
      });
    watchEndpoint.check(request);
    // Its peer has gone while it was asked who that is.
    if (socket.destroyed) return;
    const lane = context.admission.laneOf(watch.requestClass);
    lane.enter(caller);
    socket.once('close', () => lane.leave(caller));
    watchEndpoint.accept(caller, request, socket, head);
  } catch (error) {
    const told = asAppError(error);
    strayMeter.observe(statusOf(told.code), 0);
    endWith(socket, problemBytes(told, requestIdOf(request)), context.clock);
  }
}

/** Bytes that are no request, or not in time: the parser gave up, and with it the connection. */
function refuseBytes(error: Error, socket: Duplex, { context, strayMeter, requestIdOf }: Parts): void {
  // As Node does itself: a response that has begun is not written into.
  const begun = (socket as Duplex & { _httpMessage?: ServerResponse })._httpMessage?.headersSent === true;
  if (!socket.writable || begun || (error as NodeJS.ErrnoException).code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const told = asAppError(error);
  strayMeter.observe(statusOf(told.code), 0);
  endWith(socket, problemBytes(told, requestIdOf({ headers: {} } as IncomingMessage)), context.clock);
}

/** The last words to a socket that no HTTP parser looks after any more: whoever does not take them, or go, is cut off. */
function endWith(socket: Duplex, bytes: string | Buffer, clock: Clock): void {
  const cancel = clock.after(goodbyeMs, () => socket.destroy());
  socket.once('close', cancel);
  socket.end(bytes, () => socket.destroy());
}

function watchAccess(routes: readonly Route[]): Route['access'] {
  const route = routes.find(({ operation }) => operation === watch);
  if (route === undefined) throw new Error('the table has no route that watches');
  return route.access;
}

function closeServer(server: AnyServer): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeIdleConnections();
  });
}
