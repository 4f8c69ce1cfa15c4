/**
 * What selectors could ask of each host at each revision. A watch that resumes in the past is served what was selected
 * then: by today's labels it would be told of another past than those who were there, and whoever may see some hosts
 * only would be shown what happened elsewhere.
 *
 * Kept are the facts that were replaced, by the revision that replaced them; a host that never changed costs nothing.
 * They come from the events themselves: those of this process as they are committed, those before it when a watch
 * first reaches back, over the stretch of the log that it reads anyway.
 */
import type { Cancel } from '../base/clock.ts';
import type { ChangeEvent, Revision } from '../domain/event.ts';
import type { HostDocument, HostFacts } from '../domain/host.ts';
import type { EventLog } from '../domain/services.ts';

/** Until `revision`, the host of this name was as `before`; undefined: there was none. */
interface Change {
  readonly revision: number;
  readonly before: HostFacts | undefined;
}

const readAtOnce = { revisions: 1_024, bytes: 1_024 * 1_024 };
/** Changes between two looks for those that the log has forgotten. */
const pruneEvery = 4_096;

export class HostHistory {
  readonly #log: EventLog;
  readonly #now: (name: string) => HostFacts | undefined;
  /** By name, in order. */
  #changes = new Map<string, Change[]>();
  /** All changes after this revision are known. */
  #from: number;
  /** The last revision that was told. */
  #to: number;
  #sincePruned = 0;
  #reading: Promise<void> = Promise.resolve();
  readonly #unsubscribe: Cancel;

  /** `now` tells the facts of a host as of the last commit. */
  constructor(log: EventLog, now: (name: string) => HostFacts | undefined) {
    this.#log = log;
    this.#now = now;
    this.#from = log.head().revision;
    this.#to = this.#from;
    this.#unsubscribe = log.subscribe((revisions) => this.#told(revisions));
  }

  /** The facts of the host that had this name when `revision` was committed; undefined when none had. */
  at(name: string, revision: number): HostFacts | undefined {
    const changes = this.#changes.get(name);
    const next = changes?.find((change) => change.revision > revision);
    return next === undefined ? this.#now(name) : next.before;
  }

  /** Makes `at` right from `revision` on. Throws `compacted` when the log does not reach so far. */
  async reach(revision: number): Promise<void> {
    if (revision >= this.#from) return;
    const before = this.#reading;
    this.#reading = before.then(() => this.#read(revision));
    const mine = this.#reading;
    // Whoever waits behind a reading that failed reads for itself.
    this.#reading = mine.catch(() => undefined);
    return mine;
  }

  close(): void {
    this.#unsubscribe();
  }

  async #read(from: number): Promise<void> {
    const to = this.#from;
    const found = new Map<string, Change[]>();
    for (let after = from; after < to; ) {
      const revisions = await this.#log.read(after, readAtOnce);
      const last = revisions.at(-1);
      if (last === undefined) throw new Error(`the log has nothing after ${after}, expected up to ${to}`);
      for (const revision of revisions) if (revision.revision <= to) note(found, revision);
      after = last.revision;
    }
    // Memory was read anew meanwhile, and with it where this begins.
    if (this.#from !== to || from >= to) return;
    for (const [name, changes] of found)
      this.#changes.set(name, [...changes, ...(this.#changes.get(name) ?? [])]);
    this.#from = from;
  }

  #told(revisions: readonly Revision[]): void {
    for (const revision of revisions) {
      // Another process has led in between: what was replaced meanwhile is not known here.
      if (revision.revision !== this.#to + 1) this.#beginAt(revision.revision - 1);
      this.#to = revision.revision;
      this.#sincePruned += note(this.#changes, revision);
    }
    if (this.#sincePruned >= pruneEvery) this.#prune();
  }

  #beginAt(revision: number): void {
    this.#changes = new Map();
    this.#from = revision;
  }

  #prune(): void {
    this.#sincePruned = 0;
    const oldest = this.#log.oldest().revision;
    for (const [name, changes] of this.#changes) {
      const kept = changes.filter(({ revision }) => revision > oldest);
      if (kept.length === 0) this.#changes.delete(name);
      else if (kept.length < changes.length) this.#changes.set(name, kept);
    }
  }
}

/** Adds what the events of a revision replaced; returns how many. */
function note(changes: Map<string, Change[]>, { revision, events }: Revision): number {
  let count = 0;
  for (const event of events) {
    if (!event.type.startsWith('host.')) continue;
    for (const [name, before] of replaced(event)) {
      const known = changes.get(name);
      if (known === undefined) changes.set(name, [{ revision, before }]);
      else known.push({ revision, before });
      count += 1;
    }
  }
  return count;
}

function replaced({ type, host = '', body, before }: ChangeEvent): [name: string, HostFacts | undefined][] {
  if (type === 'host.joined') return [[host, undefined]];
  const facts = factsOf(body);
  if (type === 'host.removed') return [[host, facts]];
  if (before === undefined || facts === undefined) return [];
  const { name = host, region = facts.region, labels = facts.labels, self = facts.self } = before;
  const then: [string, HostFacts] = [name, { id: facts.id, name, region, labels, self }];
  return name === host ? [then] : [then, [host, undefined]];
}

/** What the body of a `host.*` event says of its host; undefined when that is not a host. */
export function factsOf(body: unknown): HostFacts | undefined {
  const { id, name, region, labels, self } = (
    typeof body === 'object' && body !== null ? body : {}
  ) as Partial<HostDocument>;
  if (id === undefined) return undefined;
  return { id, name: name ?? '', region: region ?? null, labels: labels ?? {}, self: self ?? {} };
}
