/** Clients that change service records at random, through everything that happens to their server, and remember what it acknowledged. */
import { createClient, type HoldfastClient } from '../../src/client/client.ts';
import { LinkError } from '../../src/client/link.ts';
import { systemCaller as caller } from '../../src/domain/access.ts';
import { AppError } from '../../src/domain/error.ts';
import { formatPosition } from '../../src/domain/event.ts';
import type { ServiceView } from '../../src/domain/liveness.ts';
import type { SeededRandom } from './random.ts';
import { uuidNo } from './records.ts';
import { until } from './until.ts';
import type { Log } from './watch-history.ts';

/** A record as it was answered, or that its deletion was. */
type Acknowledged =
  | Pick<ServiceView, 'uuid' | 'version' | 'status' | 'region'>
  | { readonly deleted: string };

export interface WritersOptions {
  readonly url: string;
  readonly token: string;
  readonly random: SeededRandom;
  readonly count: number;
  /** An agent has its own alone; at the registry records are on hosts 0…3. */
  readonly host?: string;
  /** Added to the numbers of the uuids, so that two that write have records of their own. */
  readonly firstRecord?: number;
}

export class Writers {
  /** How many records there are to change. */
  static readonly records = 24;
  readonly #options: WritersOptions;
  readonly #clients: HoldfastClient[];
  readonly #acknowledged: Acknowledged[] = [];
  #writing: Promise<unknown> = Promise.resolve();
  #going = false;

  constructor(options: WritersOptions) {
    this.#options = options;
    const { url, token } = options;
    // No attempt is repeated: what was not answered may have happened, and the test knows that.
    this.#clients = Array.from({ length: options.count }, () =>
      createClient({ target: { url }, token, attemptsMax: 1 }),
    );
  }

  static uuid(number: number): string {
    return uuidNo(number);
  }

  /** Changes that were answered. */
  get acknowledged(): number {
    return this.#acknowledged.length;
  }

  /** Begins to write, or goes on where the server is again. */
  resume(): void {
    if (this.#going) return;
    this.#going = true;
    this.#writing = Promise.all(this.#clients.map((client) => this.#write(client)));
    // Whoever pauses or closes hears of it.
    this.#writing.catch(() => undefined);
  }

  /** Resolves when nothing is under way any more; rejects with what no writer should meet. */
  async pause(): Promise<void> {
    this.#going = false;
    await this.#writing;
  }

  async close(): Promise<void> {
    await this.pause();
    for (const client of this.#clients) await client.close();
  }

  async untilMore(count: number): Promise<void> {
    const target = this.acknowledged + count;
    await until(() => this.acknowledged >= target, 'the writers are stuck');
  }

  /** The present end of the log. */
  async position(): Promise<string> {
    const { position } = await (this.#clients[0] as HoldfastClient).liveness.list({}, { limit: 1 });
    return position === null ? '' : formatPosition(position);
  }

  /** What was acknowledged and is not in the log. */
  lost(log: Log): string[] {
    const kept = new Map<string, number>();
    const count = (key: string, by: number) => kept.set(key, (kept.get(key) ?? 0) + by);
    for (const { type, body } of log.flatMap(({ events }) => events)) {
      if (!type.startsWith('service.')) continue;
      const record = body as ServiceView;
      if (type === 'service.deleted') count(`${record.uuid} deleted`, 1);
      else count(keyOf(record), 1);
    }
    const lost: string[] = [];
    const deletions = new Map<string, number>();
    for (const one of this.#acknowledged) {
      if (!('deleted' in one)) {
        if (!kept.has(keyOf(one))) lost.push(keyOf(one));
        continue;
      }
      const key = `${one.deleted} deleted`;
      deletions.set(key, (deletions.get(key) ?? 0) + 1);
    }
    // Each deletion that was answered is one of its own.
    for (const [key, times] of deletions)
      if (times > (kept.get(key) ?? 0)) lost.push(`${key} ${times} times, in the log ${kept.get(key) ?? 0}`);
    return lost;
  }

  async #write(client: HoldfastClient): Promise<void> {
    while (this.#going) {
      try {
        this.#acknowledged.push(await this.#change(client));
      } catch (error) {
        // The server is gone: whoever killed it says when it is back.
        if (error instanceof LinkError) return;
        if (!(error instanceof AppError) || !expectedCodes.has(error.code)) throw error;
      }
    }
  }

  async #change({ liveness }: HoldfastClient): Promise<Acknowledged> {
    const { random, host, firstRecord = 0 } = this.#options;
    const number = random.integer(0, Writers.records - 1);
    const uuid = uuidNo(firstRecord + number);
    const drawn = random.uniform();
    if (drawn < 0.1) {
      await liveness.delete(caller, { uuid });
      return { deleted: uuid };
    }
    if (drawn < 0.2) return liveness.maintain(caller, uuid, { note: `note ${random.integer(0, 99)}` });
    if (drawn < 0.25) return liveness.beat(caller, uuid);
    const patch = {
      // Of 24 records on 20 places some want what another has.
      ...(host === undefined
        ? { type: `type-${number % 5}`, host: `host-${number % 4}` }
        : { type: `type-${number % 20}`, host }),
      region: `region-${random.integer(0, 9)}`,
      status: random.pick(['UP', 'DOWN'] as const),
      ttlMs: 86_400_000,
    };
    const { service } = await liveness.put(caller, uuid, patch, { takeover: random.uniform() < 0.2 });
    return service;
  }
}

/** What writes that meet each other are refused with. */
const expectedCodes = new Set(['not-found', 'conflict', 'taken-over']);

function keyOf({
  uuid,
  version,
  status,
  region,
}: Pick<ServiceView, 'uuid' | 'version' | 'status' | 'region'>): string {
  return `${uuid} v${version} ${status} ${region}`;
}
