/** The role that a row of a conformance list is tested on, with the short words that the rows are written in. */
import assert from 'node:assert/strict';
import { it, type TestContext } from 'node:test';
import type { HoldfastClient } from '../../src/client/client.ts';
import { type Booted, Stage } from '../helpers/boot.ts';
import type { FakeClock } from '../helpers/clock.ts';
import { type Followed, follow } from '../helpers/follow.ts';
import type { HttpAnswer } from '../helpers/http.ts';
import { conductor } from '../helpers/records.ts';

export class Subject {
  readonly clock: FakeClock;
  readonly client: HoldfastClient;
  readonly http: Booted<unknown>['http'];

  constructor(clock: FakeClock, { client, http }: Booted<unknown>) {
    this.clock = clock;
    this.client = client;
    this.http = http;
  }

  get(path: string): Promise<HttpAnswer> {
    return this.http({ path });
  }

  send(method: string, path: string, body?: unknown): Promise<HttpAnswer> {
    return this.http({ method, path, body });
  }

  put(uuid: string, body: object, query = ''): Promise<HttpAnswer> {
    return this.send('PUT', `/v1/services/${uuid}${query}`, body);
  }

  /** A record with ttl 5 on host `edge-1`. */
  async web(uuid: string = conductor.uuid, more: object = {}): Promise<HttpAnswer> {
    const answer = await this.put(uuid, { type: 'web', host: 'edge-1', ttl: 5, ...more });
    assert.equal(answer.status, 201, answer.text);
    return answer;
  }

  beat(uuid: string): Promise<HttpAnswer> {
    return this.send('POST', `/v1/services/${uuid}/heartbeat`);
  }

  record(uuid: string): Promise<HttpAnswer> {
    return this.get(`/v1/services/${uuid}`);
  }

  async isUp(query: string): Promise<boolean> {
    const { status, json } = await this.get(`/v1/is-up?${query}`);
    assert.equal(status, 200);
    return json.up;
  }

  /** The uuids of a list. */
  async list(query = ''): Promise<string[]> {
    const { status, json, text } = await this.get(`/v1/services${query}`);
    assert.equal(status, 200, text);
    return json.items.map(({ uuid }: { uuid: string }) => uuid);
  }

  follow(): Promise<Followed> {
    return follow(this.client, { select: { types: ['service.*'] } });
  }

  /** Lets a ttl of 5 s run out, and the sweep after it. */
  lapse(): Promise<void> {
    return this.clock.advance(5_500);
  }
}

export type Kind = 'registry' | 'agent';
export const kinds: readonly Kind[] = ['registry', 'agent'];

async function boot(t: TestContext, kind: Kind): Promise<Subject> {
  const stage = Stage.open(t);
  const booted =
    kind === 'registry' ? await stage.registry() : await stage.agent({ registry: null, name: 'edge-1' });
  return new Subject(stage.clock, booted);
}

/** Rows on one role, each with a server of its own. */
export function rowsOf(kind: Kind) {
  return (name: string, fn: (subject: Subject) => Promise<void>) => {
    it(name, async (t) => fn(await boot(t, kind)));
  };
}
