/**
 * `/metrics`. What is counted per request goes into plain arrays (prom-client's own histogram costs about a
 * microsecond, a fifteenth of the whole request); everything else is read when somebody scrapes, and prom-client is
 * loaded then. Series are bounded: routes come from the table, never from a URL.
 */
import type { Metric } from 'prom-client';
import type { Clock } from '../base/clock.ts';
import { formatPosition } from '../domain/event.ts';
import type { EventLog } from '../domain/services.ts';
import type { Admission } from './admission.ts';
import type { WatchHub } from './watch-hub.ts';

/** One more number at `/metrics`, from a role: `holdfast_outbox_reports`. */
export interface Sample {
  readonly name: string;
  readonly help: string;
  readonly type: 'gauge' | 'counter';
  readonly value: number;
  /** Tells apart samples of one name, all of which have the same ones. */
  readonly labels?: Readonly<Record<string, string>>;
}

export interface MetricsOptions {
  readonly admission: Pick<Admission, 'counts'>;
  /** Read at each scrape. */
  readonly samples: () => readonly Sample[];
  readonly sockets: () => number;
  readonly connections: () => number;
  /** UTC milliseconds. */
  readonly startedMs: number;
}

/** What a scrape reads of the server. */
export interface Scraped {
  readonly kind: string;
  readonly version: string;
  readonly commit: string;
  readonly clock: Clock;
  readonly hub: WatchHub;
  readonly services: { readonly log: EventLog };
}

/** Seconds; what a local call and what a slow disk take. */
const bucketsS = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] as const;

export class Metrics {
  readonly #options: MetricsOptions;
  readonly #meters: RouteMeter[] = [];

  constructor(options: MetricsOptions) {
    this.#options = options;
  }

  /** A meter for one route, or for all that match none. */
  meter(method: string, route: string): RouteMeter {
    const meter = new RouteMeter(method, route);
    this.#meters.push(meter);
    return meter;
  }

  async render(context: Scraped): Promise<{ type: string; text: string }> {
    const { Registry, Gauge, Counter } = await import('prom-client');
    const lagS = await eventLoopLagS(context);
    const registry = new Registry();
    const gauge = (name: string, help: string, value: number, labels: Record<string, string> = {}) =>
      new Gauge({ name, help, registers: [registry], labelNames: Object.keys(labels) }).set(labels, value);
    const counter = (name: string, help: string, value: number) =>
      new Counter({ name, help, registers: [registry] }).inc(value);

    const { hub, services } = context;
    const { cpu, memory } = { cpu: process.cpuUsage(), memory: process.memoryUsage.rss() };
    gauge('holdfast_build_info', 'Which program this is; always 1', 1, {
      role: context.kind,
      version: context.version,
      commit: context.commit,
    });
    counter('process_cpu_seconds_total', 'CPU time of the process', (cpu.user + cpu.system) / 1e6);
    gauge('process_resident_memory_bytes', 'Resident memory of the process', memory);
    gauge(
      'process_start_time_seconds',
      'When this server started, seconds since 1970',
      this.#options.startedMs / 1_000,
    );
    gauge(
      'holdfast_event_loop_lag_seconds',
      'How long the event loop took to come round when this was asked',
      lagS,
    );
    gauge(
      'holdfast_event_loop_utilization_ratio',
      'Share of its life that the event loop was busy',
      performance.eventLoopUtilization().utilization,
    );
    gauge('holdfast_log_revision', 'The last committed revision', services.log.head().revision, {
      epoch: String(services.log.head().epoch),
    });
    gauge(
      'holdfast_log_oldest_revision',
      'Revisions after this one can be read',
      services.log.oldest().revision,
    );
    gauge(
      'holdfast_watch_revision',
      `The revision that live watches have been served to`,
      hub.position.revision,
      { epoch: formatPosition(hub.position).split('.')[0] ?? '' },
    );
    gauge('holdfast_watch_subscriptions', 'Watches that are open', hub.size);
    gauge('holdfast_watch_sockets', 'WebSockets that are open', this.#options.sockets());
    gauge('holdfast_http_connections', 'Connections that are open', this.#options.connections());
    const families = new Map<string, InstanceType<typeof Gauge> | InstanceType<typeof Counter>>();
    for (const { name, help, type, value, labels = {} } of this.#options.samples()) {
      const options = { name, help, registers: [registry], labelNames: Object.keys(labels) };
      const family = families.get(name) ?? (type === 'gauge' ? new Gauge(options) : new Counter(options));
      families.set(name, family);
      family.inc(labels, value);
    }
    for (const metric of this.#httpMetrics()) registry.registerMetric(metric as unknown as Metric);
    return { type: registry.contentType, text: await registry.metrics() };
  }

  /** In the form that prom-client's registry reads from its own metrics: `get` gives the values of the moment. */
  #httpMetrics(): object[] {
    const used = this.#meters.filter(({ count }) => count > 0);
    const classes = this.#options.admission.counts();
    return [
      collected(
        'gauge',
        'holdfast_http_under_way',
        'Requests that are being answered, by class',
        classes.map(({ name, underWay }) => ({ labels: { class: name }, value: underWay })),
      ),
      collected(
        'counter',
        'holdfast_http_refusals_total',
        'Requests turned away: no room for their class (under-way), or their address had its share',
        classes.flatMap(({ name, refusals }) =>
          Object.entries(refusals).map(([reason, value]) => ({ labels: { class: name, reason }, value })),
        ),
      ),
      collected(
        'counter',
        'holdfast_http_requests_total',
        'Requests answered',
        used.flatMap((meter) => meter.countValues()),
      ),
      collected(
        'histogram',
        'holdfast_http_request_duration_seconds',
        'From the head of the request to its answer',
        used.flatMap((meter) => meter.durationValues()),
      ),
    ];
  }
}

interface Value {
  readonly labels: Record<string, string | number>;
  readonly value: number;
  readonly metricName?: string;
}

function collected(type: string, name: string, help: string, values: Value[]): object {
  const at = (value: Value) =>
    value.metricName === undefined ? value : { ...value, metricName: `${name}_${value.metricName}` };
  return {
    name,
    help,
    type,
    aggregator: 'sum',
    get: () => Promise.resolve({ name, help, type, aggregator: 'sum', values: values.map(at) }),
  };
}

/** Counts of one route: by status, and by time in buckets. */
export class RouteMeter {
  readonly #method: string;
  readonly #route: string;
  readonly #byStatus = new Map<number, number>();
  readonly #byBucket = new Float64Array(bucketsS.length + 1);
  #sumS = 0;
  count = 0;

  constructor(method: string, route: string) {
    this.#method = method;
    this.#route = route;
  }

  observe(status: number, durationMs: number): void {
    const seconds = durationMs / 1_000;
    let bucket = 0;
    while (bucket < bucketsS.length && seconds > (bucketsS[bucket] ?? Infinity)) bucket += 1;
    this.#byBucket[bucket] = (this.#byBucket[bucket] ?? 0) + 1;
    this.#byStatus.set(status, (this.#byStatus.get(status) ?? 0) + 1);
    this.#sumS += seconds;
    this.count += 1;
  }

  countValues(): Value[] {
    return [...this.#byStatus].map(([status, value]) => ({
      labels: { method: this.#method, route: this.#route, status: String(status) },
      value,
    }));
  }

  durationValues(): Value[] {
    const labels = { method: this.#method, route: this.#route };
    let cumulative = 0;
    const buckets = [...bucketsS, Infinity].map((le, index) => {
      cumulative += this.#byBucket[index] ?? 0;
      return {
        labels: { ...labels, le: le === Infinity ? '+Inf' : le },
        value: cumulative,
        metricName: 'bucket',
      };
    });
    return [
      ...buckets,
      { labels, value: this.#sumS, metricName: 'sum' },
      { labels, value: this.count, metricName: 'count' },
    ];
  }
}

async function eventLoopLagS({ clock }: Scraped): Promise<number> {
  const before = clock.monotonic();
  await new Promise<void>((resolve) => clock.nextTurn(resolve));
  return (clock.monotonic() - before) / 1_000;
}
