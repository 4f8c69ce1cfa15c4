/**
 * Tells whom the rules name of what stands in the log. Each sink has a lane and a loop of its own, so that one that is
 * slow or away holds up nobody. It works only where this registry leads; without sinks it costs nothing.
 */
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import { type Loop, startLoop } from '../../base/loop.ts';
import type { Loops } from '../../base/loops.ts';
import type { Random } from '../../base/random.ts';
import type { ProxySettings } from '../../client/proxy.ts';
import type { Caller } from '../../domain/access.ts';
import { AppError } from '../../domain/error.ts';
import type { HostFacts } from '../../domain/host.ts';
import type { NotifyPlan, NotifyView, SinkTest } from '../../domain/notify.ts';
import { messageId, testMessage } from '../../domain/notify-batch.ts';
import { oneLine } from '../../domain/notify-words.ts';
import type { NotifyService, RunnerService } from '../../domain/services.ts';
import type { SinkSpec } from '../../domain/sinks.ts';
import { HostHistory } from '../../http/host-history.ts';
import type { Sample } from '../../http/metrics.ts';
import type { Store } from '../../store/engine/port.ts';
import { NotifyStore } from '../../store/notify.ts';
import { Lane, type Truth } from './lane.ts';
import { matchRule } from './match.ts';
import type { Sender, SenderSurroundings } from './sender.ts';

export interface NotifierOptions {
  readonly plan: NotifyPlan;
  readonly store: Store;
  readonly truth: Truth;
  readonly factsOf: (name: string) => HostFacts | undefined;
  /** Whether this registry leads, and its memory is the store's truth. */
  readonly serving: () => boolean;
  readonly proxy: ProxySettings;
  readonly runner: RunnerService | null;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly loops: Loops;
}

interface Line {
  readonly spec: SinkSpec;
  readonly sender: Sender;
  readonly lane: Lane;
  loop: Loop | null;
}

const backoff = { backoffBaseMs: 1_000, backoffCapMs: 300_000 };
const lookEveryMs = 60_000;
/** Between two looks whether this registry has come to lead. */
const standbyMs = 1_000;

export class Notifier implements NotifyService {
  readonly #options: NotifierOptions;
  readonly #store: NotifyStore;
  readonly #lines: readonly Line[];
  readonly #history: HostHistory | null;
  #unsubscribe: () => void = () => undefined;
  readonly #closing = new AbortController();
  #lastTest = 0;

  constructor(options: NotifierOptions) {
    this.#options = options;
    const { plan, store, clock, proxy, runner } = options;
    this.#store = new NotifyStore({ store });
    const history = plan.sinks.length === 0 ? null : new HostHistory(store.log, options.factsOf);
    this.#history = history;
    this.#lines =
      history === null
        ? []
        : plan.sinks.map((spec) => {
            const sender = lazySender(spec, { clock, proxy, runner });
            return { spec, sender, lane: this.#laneOf(spec, sender, history), loop: null };
          });
  }

  /** Begins where the store says that each sink is; again when this registry has come to lead. */
  async load(): Promise<void> {
    const places = await this.#store.open(this.#lines.map(({ spec }) => spec.name));
    for (const { spec, lane } of this.#lines) {
      const place = places.get(spec.name);
      if (place !== undefined) await lane.load(place);
    }
  }

  start(): void {
    const { clock, random, logger, loops, store, serving } = this.#options;
    for (const line of this.#lines) {
      line.loop = startLoop({
        ...{ clock, random, logger, loops, ...backoff },
        name: `notify ${line.spec.name}`,
        everyMs: lookEveryMs,
        run: async ({ signal }) => (serving() ? line.lane.run({ signal }) : { nextMs: standbyMs }),
      });
    }
    if (this.#lines.length > 0)
      this.#unsubscribe = store.log.subscribe(() => {
        for (const { loop } of this.#lines) loop?.wake();
      });
  }

  async stop(): Promise<void> {
    this.#unsubscribe();
    this.#closing.abort(new AppError('unavailable', 'Cannot go on: the registry stops'));
    this.#history?.close();
    await Promise.all(this.#lines.map(({ loop }) => loop?.stop()));
    await Promise.all(this.#lines.map(({ sender }) => sender.close()));
  }

  /** Forgets what is not needed any more. */
  async forget(): Promise<void> {
    if (this.#lines.length > 0) await this.#store.forget();
  }

  async status(): Promise<NotifyView> {
    const { clock, plan } = this.#options;
    const sinks = this.#lines.map(({ lane, loop }) => {
      const retryMs = loop?.retryMs ?? null;
      const retryAtMs = retryMs === null ? null : Math.round(clock.now() + retryMs - clock.monotonic());
      return { ...lane.view(), retryAtMs };
    });
    return { rules: plan.rules, sinks };
  }

  samples(): Sample[] {
    return this.#lines.flatMap(({ lane }) => {
      const { name, delivered, failed, dropped, missed, behind } = lane.view();
      const counter = (metric: string, help: string, value: number): Sample => ({
        name: `holdfast_notify_${metric}`,
        help,
        type: 'counter',
        value,
        labels: { sink: name },
      });
      return [
        counter('delivered_total', 'Messages that a sink has taken', delivered),
        counter('failed_total', 'Attempts to tell a sink that failed', failed),
        counter('dropped_total', 'Messages that a sink refused for good', dropped),
        counter('missed_total', 'Revisions that the log forgot before a sink was told', missed),
        {
          name: 'holdfast_notify_behind',
          help: 'Revisions that a sink was not told of yet, whether or not something in them is for it',
          type: 'gauge',
          value: behind,
          labels: { sink: name },
        },
      ];
    });
  }

  async test(caller: Caller, sinks: readonly string[] | null): Promise<readonly SinkTest[]> {
    const names = this.#lines.map(({ spec }) => spec.name);
    const unknown = sinks?.find((name) => !names.includes(name));
    if (unknown !== undefined)
      throw new AppError(
        'not-found',
        `Cannot test the sink "${unknown.slice(0, 80)}": ${names.length === 0 ? 'registry.yaml names none' : `there are ${names.join(', ')}`}`,
        { field: 'sinks' },
      );
    const asked = this.#lines.filter(({ spec }) => sinks === null || sinks.includes(spec.name));
    return Promise.all(asked.map((line) => this.#testOne(line, caller)));
  }

  async #testOne({ spec, sender }: Line, { subject }: Caller): Promise<SinkTest> {
    const { clock, logger } = this.#options;
    this.#lastTest += 1;
    const id = messageId([spec.name, 'test', String(clock.now()), String(this.#lastTest)]);
    const message = testMessage({ sink: spec.name, id, by: subject, nowMs: clock.now() });
    const startMs = clock.monotonic();
    const ended = (ok: boolean, detail: string): SinkTest => ({
      sink: spec.name,
      ok,
      detail,
      durationMs: Math.round(clock.monotonic() - startMs),
    });
    try {
      return ended(true, await sender.deliver(message, { signal: this.#closing.signal }));
    } catch (error) {
      if (error instanceof AppError) return ended(false, oneLine(error.message, 500));
      logger.error({ err: error, sink: spec.name }, 'the test of a sink failed');
      return ended(false, 'The registry failed; its log has the reason');
    }
  }

  #laneOf(spec: SinkSpec, sender: Sender, history: HostHistory): Lane {
    const { plan, store, truth, clock, logger } = this.#options;
    const rules = plan.rules.filter(({ to }) => to.includes(spec.name));
    const takesAlerts = spec.kind === 'alertmanager';
    return new Lane({
      ...{ spec, rules, sender, truth, clock, logger },
      matches: rules.map((rule) => matchRule(rule, history, { takesAlerts })),
      store: this.#store,
      log: store.log,
    });
  }
}

/** Loaded when it is first used: a registry that tells nobody carries none of it. */
function lazySender(spec: SinkSpec, surroundings: SenderSurroundings): Sender {
  let made: Promise<Sender> | undefined;
  const get = () => (made ??= makeSender(spec, surroundings));
  return {
    deliver: async (message, options) => (await get()).deliver(message, options),
    ...(spec.kind === 'alertmanager'
      ? { tellAgain: async (alerts, options) => (await get()).tellAgain?.(alerts, options) }
      : {}),
    close: async () => (await made)?.close(),
  };
}

async function makeSender(spec: SinkSpec, surroundings: SenderSurroundings): Promise<Sender> {
  switch (spec.kind) {
    case 'webhook':
      return (await import('./http-sinks.ts')).createWebhook(spec, surroundings);
    case 'slack':
      return (await import('./http-sinks.ts')).createSlack(spec, surroundings);
    case 'alertmanager':
      return (await import('./http-sinks.ts')).createAlertmanager(spec, surroundings);
    case 'mail':
      return (await import('./mail-sink.ts')).createMail(spec, surroundings);
    case 'exec':
      return (await import('./exec-sink.ts')).createExec(spec, surroundings);
  }
}
