/**
 * One sink and its way through the log. Level-triggered: a look compares where the sink is with where the log ends.
 *
 * Gathering: events that its rules select are collected until the shortest `groupWait` among them is over, or there are
 *   as many as one batch holds. Behind by hours, it gathers all that there is at once.
 * Sending: the end of the stretch is written down, then its messages are sent one after another, and each that was taken
 *   is written down. A process that dies in between repeats the last one, under the same id.
 * Moving on: place and memory are written in one transaction.
 *
 * A message that fails stays the next one; the loop around this backs off. Nobody else waits for it.
 */
import type { Clock } from '../../base/clock.ts';
import { limits } from '../../base/limits.ts';
import type { Logger } from '../../base/log.ts';
import { endAlert } from '../../domain/alert.ts';
import { AppError, isAppError } from '../../domain/error.ts';
import { type ChangeEvent, formatPosition, type Revision } from '../../domain/event.ts';
import type { NotifyRule, SinkView } from '../../domain/notify.ts';
import {
  type Candidate,
  type Decided,
  decideBatch,
  groupOf,
  missedMessage,
  type NotifyMessage,
  type SubjectState,
  stateKey,
} from '../../domain/notify-batch.ts';
import { oneLine, subjectOf, type Told, toldBy } from '../../domain/notify-words.ts';
import type { EventLog } from '../../domain/services.ts';
import { type SinkSpec, sinkTarget } from '../../domain/sinks.ts';
import { byKey, type NotifyStore, type SinkPlace } from '../../store/notify.ts';
import type { RuleMatch } from './match.ts';
import { refusedTriesMs, type Sender, tellAgainMs } from './sender.ts';

/** How things are now. */
export interface Truth {
  /** Null: nobody knows. */
  statusOf(subject: string): Told | null;
  /** When the maintenance of a record ends that it is in; Infinity: when somebody says so; null: it is in none. */
  maintenanceEndMs(subject: string): number | null;
  regionOfHost(name: string): string | null;
}

export interface LaneOptions {
  readonly spec: SinkSpec;
  readonly rules: readonly NotifyRule[];
  readonly matches: readonly RuleMatch[];
  readonly sender: Sender;
  readonly store: NotifyStore;
  readonly log: EventLog;
  readonly truth: Truth;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** What was gathered and not sent. */
interface Gathered {
  /** Up to here it was looked. */
  cursor: number;
  readonly candidates: Candidate[];
  readonly groups: Set<string>;
  bytes: number;
  /** When the first of them has waited enough, by the wall clock of when it happened. */
  deadlineMs: number;
  /** The same, by the monotonic clock of when it was read: the wall clock may be set back meanwhile. */
  latestMs: number;
}

const readAtOnce = { revisions: 512, bytes: 1_048_576 };
/** A place that moved over what is not for the sink is written so often. */
const savedEveryMs = 60_000;
const lookEveryMs = 60_000;

export class Lane {
  readonly #options: LaneOptions;
  #place: SinkPlace | null = null;
  #gathered: Gathered | null = null;
  #held: Map<string, SubjectState> = new Map();
  #decided: Decided | null = null;
  /** Counts the beginnings: what an earlier one began is not finished by it. */
  #life = 0;
  #savedMs = 0;
  #toldAgainMs = 0;
  /** Since when the message that is the next one is refused, by the monotonic clock. */
  #refusedSinceMs: number | null = null;

  constructor(options: LaneOptions) {
    this.#options = options;
  }

  get name(): string {
    return this.#options.spec.name;
  }

  /** Begins where the store says that it is. */
  async load(place: SinkPlace): Promise<void> {
    this.#life += 1;
    const { store, clock } = this.#options;
    this.#gathered = null;
    this.#decided = null;
    this.#place = null;
    this.#refusedSinceMs = null;
    this.#savedMs = clock.monotonic();
    this.#toldAgainMs = clock.monotonic();
    this.#held = byKey(await store.held(place.sink));
    this.#place = place;
  }

  /** Looks once. Throws what the sink refused with, after it was written down. */
  async run({ signal }: { readonly signal: AbortSignal }): Promise<{ readonly nextMs: number }> {
    const life = this.#life;
    if (this.#place === null) return { nextMs: lookEveryMs };
    await this.#tellAgain(life, signal);
    await this.#passMissed(life, signal);
    const place = this.#placeNow();
    if (place.sending === null) {
      const waitMs = await this.#gather(life);
      if (waitMs !== null) return { nextMs: waitMs };
    }
    await this.#send(life, signal);
    return { nextMs: 0 };
  }

  view(): Omit<SinkView, 'retryAtMs'> {
    const { spec, log } = this.#options;
    const place = this.#place;
    const head = log.head();
    const messages = this.#decided?.messages.length ?? 0;
    return {
      name: spec.name,
      kind: spec.kind,
      target: sinkTarget(spec),
      position: place === null ? null : formatPosition(place.position),
      behind: place === null ? 0 : Math.max(0, head.revision - place.position.revision),
      waiting: messages - (place?.sending?.taken.length ?? 0),
      delivered: place?.delivered ?? 0,
      failed: place?.failed ?? 0,
      dropped: place?.dropped ?? 0,
      missed: place?.missed ?? 0,
      lastSuccessMs: place?.lastSuccessMs ?? null,
      lastError: place?.lastError ?? null,
    };
  }

  /** What the log says is asked from here on. */
  #placeNow(): SinkPlace {
    if (this.#place === null) throw new AppError('unavailable', 'Cannot notify: this registry does not lead');
    return this.#place;
  }

  async #save(life: number, place: SinkPlace, states: readonly SubjectState[] = []): Promise<void> {
    this.#requireLife(life);
    await this.#options.store.save(place, states);
    this.#requireLife(life);
    this.#place = place;
    this.#savedMs = this.#options.clock.monotonic();
    for (const state of states) {
      if (state.held === null) this.#held.delete(stateKey(state));
      else this.#held.set(stateKey(state), state);
    }
  }

  /** Another one has led meanwhile: what was begun before is its business. */
  #requireLife(life: number): void {
    if (life !== this.#life)
      throw new AppError('unavailable', 'Cannot go on with what was begun before another registry led');
  }

  /** The log forgets; what it has forgotten is told as a number, once. */
  async #passMissed(life: number, signal: AbortSignal): Promise<void> {
    const { log, clock, logger } = this.#options;
    const place = this.#placeNow();
    const [oldest, head] = [log.oldest(), log.head()];
    const { revision } = place.position;
    // A database that went back took the place with it; another leader may have read more than there is now.
    if (revision > head.revision) {
      this.#gathered = null;
      this.#decided = null;
      const position = { epoch: head.epoch, revision: head.revision };
      await this.#save(life, { ...place, position, sending: null });
    }
    if (revision >= oldest.revision) return;
    const revisions = oldest.revision - revision;
    const after = formatPosition(place.position);
    logger.warn(
      { sink: this.name, revisions, after },
      'the log forgot revisions before a sink was told of them',
    );
    const message = missedMessage({ sink: this.name, after, revisions, nowMs: clock.now() });
    const taken = await this.#deliver(life, message, signal);
    this.#gathered = null;
    this.#decided = null;
    const now = this.#placeNow();
    await this.#save(life, {
      ...now,
      position: { epoch: oldest.epoch, revision: oldest.revision },
      sending: null,
      missed: now.missed + revisions,
      ...(taken ? this.#success(now) : {}),
    });
  }

  /** Null: there is something to send now. Else in how long to look again. */
  async #gather(life: number): Promise<number | null> {
    const { clock } = this.#options;
    const gathered = await this.#read(null);
    this.#requireLife(life);
    const { due, lookMs } = await this.#dueNow(life);
    const place = this.#placeNow();
    const nowMs = clock.now();
    if (due.length === 0 && gathered.candidates.length === 0) {
      await this.#moveOver(life, gathered.cursor);
      this.#gathered = null;
      return lookMs;
    }
    const isFull = isEnough(gathered);
    const waitMs = Math.min(gathered.deadlineMs - nowMs, gathered.latestMs - clock.monotonic());
    if (due.length === 0 && !isFull && waitMs > 0) return Math.min(lookMs, waitMs);
    const sending = { until: gathered.cursor, startedMs: nowMs, due: due.map(stateKey), taken: [] };
    await this.#save(life, { ...place, sending });
    return null;
  }

  /** Nothing up to `cursor` is for this sink. */
  async #moveOver(life: number, cursor: number): Promise<void> {
    const { clock, log } = this.#options;
    const place = this.#placeNow();
    if (cursor <= place.position.revision) return;
    const moved = { ...place, position: { epoch: log.head().epoch, revision: cursor } };
    if (clock.monotonic() - this.#savedMs >= savedEveryMs) await this.#save(life, moved);
    else this.#place = moved;
  }

  /** Reads on to the end of the log, or to `until`, or until there is enough. */
  async #read(until: number | null): Promise<Gathered> {
    const { log, matches } = this.#options;
    const place = this.#placeNow();
    const gathered = this.#gathered ?? {
      cursor: place.position.revision,
      candidates: [],
      groups: new Set<string>(),
      bytes: 0,
      deadlineMs: Number.POSITIVE_INFINITY,
      latestMs: Number.POSITIVE_INFINITY,
    };
    if (this.#gathered === null) for (const { reach } of matches) await reach?.(gathered.cursor);
    this.#gathered = gathered;
    const end = () => until ?? log.head().revision;
    while (gathered.cursor < end() && (until !== null || !isEnough(gathered))) {
      const revisions = await log.read(gathered.cursor, readAtOnce);
      if (revisions.length === 0) break;
      for (const revision of revisions) {
        if (gathered.cursor >= end() || (until === null && isEnough(gathered))) break;
        this.#take(gathered, revision);
      }
    }
    return gathered;
  }

  #take(gathered: Gathered, { revision, events }: Revision): void {
    const readMs = this.#options.clock.monotonic();
    for (const event of events) {
      for (const { rule, selects } of this.#options.matches) {
        if (!selects(event)) continue;
        gathered.candidates.push({ rule, event });
        gathered.groups.add(JSON.stringify([rule.name, groupOf(rule, event)]));
        gathered.bytes += sizeOf(event);
        gathered.deadlineMs = Math.min(gathered.deadlineMs, Date.parse(event.at) + rule.groupWaitMs);
        gathered.latestMs = Math.min(gathered.latestMs, readMs + rule.groupWaitMs);
      }
    }
    gathered.cursor = revision;
  }

  /** What maintenance kept silent and is still so after it; what is not so any more is forgotten. */
  async #dueNow(life: number): Promise<{ due: SubjectState[]; lookMs: number }> {
    const { truth, clock } = this.#options;
    const nowMs = clock.now();
    const due: SubjectState[] = [];
    const over: SubjectState[] = [];
    let lookMs = lookEveryMs;
    for (const state of this.#held.values()) {
      if (state.held === null) continue;
      const endMs = truth.maintenanceEndMs(state.subject);
      if (endMs !== null) lookMs = Math.min(lookMs, Math.max(1, endMs - nowMs));
      else if (truth.statusOf(state.subject) === toldBy(state.held)) due.push(state);
      else over.push({ ...state, held: null });
    }
    if (over.length > 0) await this.#save(life, this.#placeNow(), over);
    return { due: due.slice(0, limits.notifyBatchMax), lookMs };
  }

  async #send(life: number, signal: AbortSignal): Promise<void> {
    const { sending } = this.#placeNow();
    if (sending === null) return;
    const { messages, states } = await this.#decide(life);
    for (const message of messages) {
      const place = this.#placeNow();
      if (place.sending?.taken.includes(message.id) === true) continue;
      const taken = await this.#deliver(life, message, signal);
      const now = this.#placeNow();
      const next: SinkPlace = {
        ...now,
        ...(taken ? this.#success(now) : {}),
        sending: { ...sending, taken: [...(now.sending?.taken ?? []), message.id] },
      };
      // The last one is written with the place.
      if (message === messages.at(-1)) this.#place = next;
      else await this.#save(life, next);
    }
    const { log } = this.#options;
    const place = this.#placeNow();
    const position = { epoch: log.head().epoch, revision: Math.max(sending.until, place.position.revision) };
    await this.#save(life, { ...place, position, sending: null }, states);
    this.#gathered = null;
    this.#decided = null;
  }

  /** The same for the same stretch, also in the next process. */
  async #decide(life: number): Promise<Decided> {
    if (this.#decided !== null) return this.#decided;
    const { spec, rules, store, truth } = this.#options;
    const { sending } = this.#placeNow();
    const gathered = await this.#read(sending?.until ?? null);
    const due = (sending?.due ?? []).flatMap((key) => {
      const state = this.#held.get(key);
      const rule = rules.find(({ name }) => name === state?.rule);
      return state?.held == null || rule === undefined ? [] : [{ rule, event: state.held }];
    });
    const subjects = new Set([...due, ...gathered.candidates].flatMap(({ event }) => namesOf(event)));
    const known = await store.known(spec.name, {
      rules: rules.map(({ name }) => name),
      subjects: [...subjects],
    });
    this.#requireLife(life);
    this.#decided = decideBatch({
      sink: spec.name,
      takesAlerts: spec.kind === 'alertmanager',
      labels: spec.kind === 'alertmanager' ? spec.labels : {},
      due,
      candidates: gathered.candidates,
      known,
      regionOfHost: (name) => truth.regionOfHost(name),
      nowMs: sending?.startedMs ?? 0,
    });
    return this.#decided;
  }

  /** Whether it was taken; false: it was given up. Throws what it failed with while it is to be tried again. */
  async #deliver(life: number, message: NotifyMessage, signal: AbortSignal): Promise<boolean> {
    const { sender, logger } = this.#options;
    try {
      const answer = await sender.deliver(message, { signal });
      this.#requireLife(life);
      this.#refusedSinceMs = null;
      logger.debug({ sink: this.name, delivery: message.id, answer }, 'told a sink');
      return true;
    } catch (error) {
      signal.throwIfAborted();
      this.#requireLife(life);
      const place = this.#placeNow();
      const lastError = this.#errorOf(error);
      if (!this.#isHopeless(error)) {
        await this.#save(life, { ...place, failed: place.failed + 1, lastError });
        throw error;
      }
      logger.error(
        { sink: this.name, delivery: message.id, title: message.title, detail: lastError.detail },
        'a sink refuses a message, it is given up',
      );
      this.#refusedSinceMs = null;
      this.#place = { ...place, failed: place.failed + 1, dropped: place.dropped + 1, lastError };
      return false;
    }
  }

  #errorOf(error: unknown): NonNullable<SinkPlace['lastError']> {
    const words = error instanceof AppError ? error.message : 'The registry failed; its log has the reason';
    return { atMs: this.#options.clock.now(), detail: oneLine(words, 500) };
  }

  /** Whether trying again is of no use, as sender.ts has it. */
  #isHopeless(error: unknown): boolean {
    if (isAppError(error, 'unprocessable') || isAppError(error, 'too-large')) return true;
    if (isAppError(error, 'unavailable') || isAppError(error, 'rate-limited')) {
      this.#refusedSinceMs = null;
      return false;
    }
    const nowMs = this.#options.clock.monotonic();
    this.#refusedSinceMs ??= nowMs;
    return nowMs - this.#refusedSinceMs >= refusedTriesMs;
  }

  #success(place: SinkPlace): Pick<SinkPlace, 'delivered' | 'lastSuccessMs'> {
    return { delivered: place.delivered + 1, lastSuccessMs: this.#options.clock.now() };
  }

  /** Alerts that fire are told again; those whose cause is over, whoever missed that, end here. */
  async #tellAgain(life: number, signal: AbortSignal): Promise<void> {
    const { sender, store, truth, clock } = this.#options;
    if (sender.tellAgain === undefined || clock.monotonic() - this.#toldAgainMs < tellAgainMs) return;
    const nowMs = clock.now();
    const firing = (await store.firing(this.name)).flatMap((state) => {
      if (state.alert === null) return [];
      const status = truth.statusOf(state.subject);
      const isOver = status !== null && status !== 'DOWN';
      return [{ state, isOver, alert: isOver ? endAlert(state.alert, nowMs) : state.alert }];
    });
    if (firing.length > 0) {
      const alerts = firing.map(({ alert }) => alert);
      await sender.tellAgain(alerts, { signal }).catch(async (error: unknown) => {
        signal.throwIfAborted();
        const place = this.#placeNow();
        await this.#save(life, { ...place, failed: place.failed + 1, lastError: this.#errorOf(error) });
        throw error;
      });
    }
    this.#requireLife(life);
    const ended = firing.flatMap(({ state, isOver }) => (isOver ? [{ ...state, alert: null }] : []));
    if (ended.length > 0) await this.#save(life, this.#placeNow(), ended);
    this.#toldAgainMs = clock.monotonic();
  }
}

/** Of what it tells, and of the region that it may be folded into or end. */
function namesOf(event: ChangeEvent): string[] {
  const { region } = (event.body ?? {}) as { region?: unknown };
  return [subjectOf(event), ...(typeof region === 'string' ? [`region ${region}`] : [])];
}

function isEnough({ candidates, groups, bytes }: Gathered): boolean {
  return (
    candidates.length >= limits.notifyBatchMax ||
    groups.size >= limits.notifyMessagesMax ||
    bytes >= limits.notifyBatchBytes
  );
}

/** About: what a text of it takes. */
function sizeOf({ body }: ChangeEvent): number {
  return 200 + (body === undefined ? 0 : JSON.stringify(body).length);
}
