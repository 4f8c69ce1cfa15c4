/**
 * What is told of a stretch of the log: events become entries, entries of one rule and group become one message. Pure:
 * the same stretch with the same states gives the same messages under the same ids, so that what is repeated after a
 * crash is known as a repetition.
 *
 * Not told: what maintenance keeps silent (held until it ends), the same thing within `repeatAfter` of its last telling,
 * and the hosts of a region that is told lost.
 */
import { hash } from 'node:crypto';
import { limits } from '../base/limits.ts';
import { formatInstant } from '../base/time.ts';
import { type Alert, alertOf, endAlert } from './alert.ts';
import type { ChangeEvent } from './event.ts';
import { familyOf, type GroupKey, type NotifyRule, selectsType } from './notify.ts';
import { memberOf, oneLine, regionOf, subjectOf, type Told, titleOf, toldBy } from './notify-words.ts';

/** An event that a rule of the sink selects. */
export interface Candidate {
  readonly rule: NotifyRule;
  readonly event: ChangeEvent;
}

/** What is remembered of one thing that a rule told of, or holds back. */
export interface SubjectState {
  /** Of the rule. */
  readonly rule: string;
  readonly subject: string;
  /** As it was last told; null while it is only held. */
  readonly title: string | null;
  readonly told: Told | null;
  readonly atMs: number;
  /** Not needed after this. */
  readonly forgetAtMs: number;
  /** The last event that maintenance kept silent. */
  readonly held: ChangeEvent | null;
  /** An alert that fires. */
  readonly alert: Alert | null;
}

/** One event of a message, with its words. */
export interface Entry {
  readonly title: string;
  readonly told: Told;
  readonly event: ChangeEvent;
  /** For who takes alerts. */
  readonly alert: Alert | null;
}

/** `missed`: the log forgot revisions before they were told. `test`: somebody asked for it. */
export interface NotifyMessage {
  /** The same when the same is sent again. */
  readonly id: string;
  readonly kind: 'events' | 'missed' | 'test';
  readonly sink: string;
  readonly rule: string | null;
  /** What its events have in common. */
  readonly group: Readonly<Partial<Record<GroupKey, string>>>;
  /** One line. */
  readonly title: string;
  readonly atMs: number;
  /** In order, the first ones when there are too many. */
  readonly entries: readonly Entry[];
  /** Events beyond `entries`. */
  readonly more: number;
}

export interface Batch {
  readonly sink: string;
  /** Whether it takes alerts: then no entry is left out. */
  readonly takesAlerts: boolean;
  /** On every alert. */
  readonly labels: Readonly<Record<string, string>>;
  /** Held before and due now, for what was held is still so. */
  readonly due: readonly Candidate[];
  readonly candidates: readonly Candidate[];
  /** By `stateKey`. */
  readonly known: ReadonlyMap<string, SubjectState>;
  readonly regionOfHost: (name: string) => string | null;
  readonly nowMs: number;
}

export interface Decided {
  readonly messages: readonly NotifyMessage[];
  /** What is remembered from now on, of all that changed. */
  readonly states: readonly SubjectState[];
}

/** For so long hosts of a region that was told lost are not told one by one. */
export const regionFoldMs = 600_000;
/** What is down is remembered for as long as it may matter to whom it was told. */
const downKeptMs = 30 * 86_400_000;
/** An event that says nothing of up or down fires for so long. */
const changeFiresMs = 300_000;

export function stateKey({ rule, subject }: Pick<SubjectState, 'rule' | 'subject'>): string {
  return `${rule}\0${subject}`;
}

/** Whether maintenance keeps an event of a record silent. That a record begins or ends to be there is always told. */
export function isSilenced({ type, body }: ChangeEvent): boolean {
  if (type !== 'service.lapsed' && type !== 'service.revived' && type !== 'service.set') return false;
  const { maintenance } = (body ?? {}) as { maintenance?: { active?: unknown } | null };
  return maintenance?.active === true;
}

/** Whether a rule has to see the loss of a region, also one that asks only for its hosts. */
export function concernsRegions({ select }: NotifyRule): boolean {
  return ['host.lapsed', 'service.lapsed', 'system.region-lost'].some((type) =>
    selectsType(select.types, type),
  );
}

export function decideBatch(batch: Batch): Decided {
  const { nowMs } = batch;
  const states = new Map<string, SubjectState>();
  const told: { rule: NotifyRule; entry: Entry }[] = [];
  const folded = foldedRegions(batch);
  const stateOf = (key: string) => states.get(key) ?? batch.known.get(key);

  const tell = ({ rule, event }: Candidate, { wasHeld }: { readonly wasHeld: boolean }) => {
    const [subject, title, says] = [subjectOf(event), titleOf(event), toldBy(event)];
    const key = stateKey({ rule: rule.name, subject });
    const before = stateOf(key);
    const atMs = Date.parse(event.at);
    const quiet: SubjectState = before ?? {
      rule: rule.name,
      subject,
      ...{ title: null, told: null, held: null, alert: null },
      atMs,
      forgetAtMs: atMs + downKeptMs,
    };
    if (isSilenced(event) && !wasHeld) {
      states.set(key, { ...quiet, held: event, forgetAtMs: nowMs + downKeptMs });
      return;
    }
    const released = { ...quiet, held: null };
    // Whoever was never told that it was down need not hear that it is up after its maintenance.
    const isNews = !(wasHeld && says === 'UP' && before?.told !== 'DOWN');
    const isRepeated = before?.title === title && atMs - before.atMs < rule.repeatAfterMs;
    if (!isNews || isRepeated) {
      if (before !== undefined && before.held !== null) states.set(key, released);
      return;
    }
    const { alert, fires } = batch.takesAlerts
      ? alertFor({ rule, event, title, says, before: before?.alert ?? null, labels: batch.labels })
      : { alert: null, fires: null };
    told.push({ rule, entry: { title, told: says, event, alert } });
    states.set(key, {
      ...released,
      ...{ title, told: says, atMs, alert: fires },
      forgetAtMs: atMs + (says === 'DOWN' ? downKeptMs : rule.repeatAfterMs),
    });
  };

  for (const one of batch.due) tell(one, { wasHeld: true });
  for (const one of batch.candidates) {
    const fold = foldOf(one, batch, folded);
    if (fold === 'hidden') continue;
    tell(one, { wasHeld: false });
    if (one.event.type === 'host.returned') endRegion(one, batch, { stateOf, states, told });
  }
  return { messages: messagesOf(batch, told), states: [...states.values()] };
}

/** By rule: regions that are told lost in this batch, with the hosts that are not told for it. */
type Folded = ReadonlyMap<NotifyRule, ReadonlyMap<string, number>>;

function foldedRegions({ candidates, regionOfHost }: Batch): Folded {
  const lost = new Map<NotifyRule, Map<string, number>>();
  for (const { rule, event } of candidates) {
    if (event.type !== 'system.region-lost') continue;
    const regions = lost.get(rule) ?? new Map<string, number>();
    lost.set(rule, regions.set(regionOf(event) ?? '', 0));
  }
  for (const { rule, event } of candidates) {
    const region = isLapse(event) ? lapsedRegion(event, regionOfHost) : null;
    const regions = lost.get(rule);
    const count = region === null ? undefined : regions?.get(region);
    if (region !== null && count !== undefined) regions?.set(region, count + 1);
  }
  return lost;
}

/** `hidden`: it is told with its region, or it is a region of which the rule tells nothing. */
function foldOf(
  { rule, event }: Candidate,
  { known, regionOfHost }: Batch,
  folded: Folded,
): 'hidden' | 'told' {
  if (event.type === 'system.region-lost') {
    const { types, hosts, apps, services } = rule.select;
    const isAsked =
      selectsType(types, event.type) && hosts === undefined && apps === undefined && services === undefined;
    return isAsked || (folded.get(rule)?.get(regionOf(event) ?? '') ?? 0) > 0 ? 'told' : 'hidden';
  }
  if (!isLapse(event)) return 'told';
  const region = lapsedRegion(event, regionOfHost);
  if (region === null) return 'told';
  if (folded.get(rule)?.has(region) === true) return 'hidden';
  const state = known.get(stateKey({ rule: rule.name, subject: `region ${region}` }));
  const isRecent = state?.told === 'DOWN' && Date.parse(event.at) - state.atMs < regionFoldMs;
  return isRecent ? 'hidden' : 'told';
}

/** A host that is silent, or what went with it. */
function isLapse({ type, body }: ChangeEvent): boolean {
  return type === 'host.lapsed' || (type === 'service.lapsed' && memberOf(body, 'reason') === 'host');
}

function lapsedRegion(event: ChangeEvent, regionOfHost: (name: string) => string | null): string | null {
  if (event.type === 'host.lapsed') return regionOf(event);
  return event.host === undefined ? null : regionOfHost(event.host);
}

/** The first host of a lost region that is back ends the alert of the region. */
function endRegion(
  { rule, event }: Candidate,
  { takesAlerts }: Batch,
  world: {
    readonly stateOf: (key: string) => SubjectState | undefined;
    readonly states: Map<string, SubjectState>;
    readonly told: { rule: NotifyRule; entry: Entry }[];
  },
): void {
  const region = regionOf(event);
  if (region === null) return;
  const key = stateKey({ rule: rule.name, subject: `region ${region}` });
  const state = world.stateOf(key);
  if (state?.told !== 'DOWN') return;
  const atMs = Date.parse(event.at);
  world.states.set(key, { ...state, told: 'UP', title: null, atMs, forgetAtMs: atMs, alert: null });
  if (!takesAlerts || state.alert === null) return;
  const title = `hosts of region ${region} are back`;
  world.told.push({ rule, entry: { title, told: 'UP', event, alert: endAlert(state.alert, atMs) } });
}

function alertFor(given: {
  readonly rule: NotifyRule;
  readonly event: ChangeEvent;
  readonly title: string;
  readonly says: Told;
  readonly before: Alert | null;
  readonly labels: Readonly<Record<string, string>>;
}): { readonly alert: Alert | null; readonly fires: Alert | null } {
  const { rule, event, title, says, before, labels } = given;
  const atMs = Date.parse(event.at);
  if (says === 'UP' || says === 'gone') {
    return { alert: before === null ? null : endAlert(before, atMs), fires: null };
  }
  const fresh = alertOf(event, { rule: rule.name, title, labels });
  if (says === 'change') return { alert: endAlert(fresh, atMs + changeFiresMs), fires: null };
  // What fires already began when it began.
  const alert = before === null ? fresh : { ...before, summary: title };
  return { alert, fires: alert };
}

function messagesOf(batch: Batch, told: readonly { rule: NotifyRule; entry: Entry }[]): NotifyMessage[] {
  const groups = new Map<string, { rule: NotifyRule; group: NotifyMessage['group']; entries: Entry[] }>();
  for (const { rule, entry } of told) {
    const group = groupOf(rule, entry.event);
    const key = JSON.stringify([rule.name, group]);
    const known = groups.get(key);
    if (known === undefined) groups.set(key, { rule, group, entries: [entry] });
    else known.entries.push(entry);
  }
  return [...groups].map(([key, { rule, group, entries }]) => {
    const [first, last] = [entries[0], entries.at(-1)].map(
      (one) => `${one?.event.position}.${one?.event.index}`,
    );
    const id = messageId([batch.sink, key, first ?? '', last ?? '', String(entries.length)]);
    const shown = batch.takesAlerts ? entries : bounded(entries);
    return {
      id,
      kind: 'events',
      sink: batch.sink,
      rule: rule.name,
      group,
      title: summary(entries, group),
      atMs: batch.nowMs,
      entries: shown,
      more: entries.length - shown.length,
    };
  });
}

/** What names a message: the same words, the same id. */
export function messageId(words: readonly string[]): string {
  return hash('sha256', words.join('\0')).slice(0, 32);
}

/** The group of an event under a rule; also what counts as one message when a batch is bounded. */
export function groupOf({ groupBy }: NotifyRule, event: ChangeEvent): NotifyMessage['group'] {
  return Object.fromEntries(groupBy.map((key) => [key, groupValue(key, event)]));
}

function groupValue(key: GroupKey, event: ChangeEvent): string {
  switch (key) {
    case 'host':
      return event.host ?? '';
    case 'region':
      return regionOf(event) ?? '';
    case 'type':
      return event.type;
    case 'service':
      return event.service ?? '';
    case 'app':
      return event.app ?? '';
    case 'component':
      return memberOf(event.body, familyOf(event.type) === 'component' ? 'name' : 'component') ?? '';
  }
}

function bounded(entries: readonly Entry[]): Entry[] {
  const shown: Entry[] = [];
  let leftBytes = limits.notifyMessageBytes;
  for (const entry of entries.slice(0, limits.notifyEventsMax)) {
    const fitting = withinBytes(entry, Math.floor(limits.notifyMessageBytes / 2));
    leftBytes -= Buffer.byteLength(JSON.stringify(fitting.event));
    if (leftBytes < 0) break;
    shown.push(fitting);
  }
  return shown;
}

/** An event with a body that is too large is told without it. */
function withinBytes(entry: Entry, bytesMax: number): Entry {
  if (Buffer.byteLength(JSON.stringify(entry.event)) <= bytesMax) return entry;
  const { before: _left, ...event } = entry.event;
  return { ...entry, event: { ...event, body: null } };
}

function summary(entries: readonly Entry[], group: NotifyMessage['group']): string {
  const [first] = entries;
  if (first !== undefined && entries.length === 1) return first.title;
  const counts = new Map<string, number>();
  for (const { event } of entries) counts.set(event.type, (counts.get(event.type) ?? 0) + 1);
  const [lost] = entries.filter(({ event }) => event.type === 'system.region-lost');
  const common = Object.entries(group).map(([key, value]) => `${key} ${value === '' ? 'none' : value}`);
  const kinds = [...counts].map(([type, count]) => `${count} × ${type}`).join(', ');
  const what = lost === undefined ? `${entries.length} changes: ${kinds}` : `${lost.title}; ${kinds}`;
  return oneLine(common.length === 0 ? what : `${common.join(', ')}: ${what}`);
}

/** What the log forgot before it was told. */
export function missedMessage(given: {
  readonly sink: string;
  readonly after: string;
  readonly revisions: number;
  readonly nowMs: number;
}): NotifyMessage {
  const { sink, after, revisions, nowMs } = given;
  return {
    id: messageId([sink, 'missed', after, String(revisions)]),
    kind: 'missed',
    sink,
    rule: null,
    group: {},
    title: `${revisions} revisions after ${after} were forgotten before they could be told here; "holdfast hosts ls" and "holdfast services ls" say how things are`,
    atMs: nowMs,
    entries: [],
    more: 0,
  };
}

/** Says that it is a test, and of whom. */
export function testMessage(given: {
  readonly sink: string;
  readonly id: string;
  readonly by: string;
  readonly nowMs: number;
}): NotifyMessage {
  const { sink, id, by, nowMs } = given;
  const title = oneLine(
    `This is a test of the sink "${sink}" of Holdfast, asked for by ${by}: nothing has happened`,
  );
  return { id, kind: 'test', sink, rule: null, group: {}, title, atMs: nowMs, entries: [], more: 0 };
}

/** As programs get it: a webhook's body, a command's stdin. */
export function messageDocument(message: NotifyMessage): object {
  const { id, kind, sink, rule, group, title, atMs, entries, more } = message;
  return {
    ...{ id, kind, sink, rule, group, title },
    at: formatInstant(atMs),
    events: entries.map((entry) => ({ title: entry.title, says: entry.told, ...entry.event })),
    more,
  };
}

/** As people read it, one line for each event. */
export function messageLines({ kind, entries, more }: NotifyMessage): readonly string[] {
  if (kind !== 'events') return [];
  const lines = entries.map(({ title, event }) => `${event.at}  ${title}`);
  return more === 0 ? lines : [...lines, `and ${more} more`];
}
