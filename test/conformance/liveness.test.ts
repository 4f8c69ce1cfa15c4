/**
 * /work/shared/conformance/liveness.md, row by row, black-box over HTTP, on a registry and on an agent that stands
 * alone. Time is fake; the one test in real time is at the end. Around each row its neighbours: the rule is tested,
 * not the example.
 */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import type { HoldfastClient } from '../../src/client/client.ts';
import { type Booted, Stage } from '../helpers/boot.ts';
import type { FakeClock } from '../helpers/clock.ts';
import { type Followed, follow, told } from '../helpers/follow.ts';
import type { HttpAnswer } from '../helpers/http.ts';
import {
  compute,
  conductor,
  isUpMembers,
  listMembers,
  members,
  nobody,
  outcome,
  recordMembers,
  uuidNo,
} from '../helpers/records.ts';

/** The role under test, with the short words that the rows are written in. */
class Subject {
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

type Kind = 'registry' | 'agent';
const kinds: readonly Kind[] = ['registry', 'agent'];

async function boot(t: TestContext, kind: Kind): Promise<Subject> {
  const stage = Stage.open(t);
  const booted =
    kind === 'registry' ? await stage.registry() : await stage.agent({ registry: null, name: 'edge-1' });
  return new Subject(stage.clock, booted);
}

for (const kind of kinds) {
  /** A row on this role, each with a server of its own. */
  const row = (name: string, fn: (subject: Subject, t: TestContext) => Promise<void>) =>
    it(name, async (t) => fn(await boot(t, kind), t));

  describe(`liveness conformance on the ${kind}`, () => {
    row(
      'L1 is-up of an unknown uuid, and of an unknown type and host, is false and says that it is unknown',
      async (s) => {
        for (const query of [
          `uuid=${nobody}`,
          `uuid=${conductor.bare}`,
          'type=web&host=edge-1',
          'type=web&host=nowhere',
        ]) {
          const { status, json } = await s.get(`/v1/is-up?${query}`);
          assert.equal(status, 200);
          assert.equal(members(json), isUpMembers);
          const { asOf, ageMs, ...rest } = json;
          assert.match(asOf, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
          assert.equal(ageMs, 0);
          assert.deepEqual(rest, {
            up: false,
            known: false,
            reason: null,
            maintenance: null,
            confirmed: true,
            stale: false,
          });
        }
        assert.equal((await s.client.liveness.isUp({ uuid: nobody })).up, false);
        assert.equal((await s.client.liveness.isUp({ type: 'web', host: 'edge-1' })).known, false);
      },
    );

    row('L2 is-up needs a uuid, or a type and a host, and exactly one of these', async (s) => {
      for (const [query, field] of [
        ['', 'type'],
        ['?type=web', 'host'],
        ['?host=edge-1', 'type'],
        ['?uuid=', 'uuid'],
        ['?uuid=1234', 'uuid'],
        [`?uuid=${conductor.uuid}0`, 'uuid'],
        ['?type=&host=edge-1', 'type'],
        ['?type=web&host=', 'host'],
        [`?uuid=${nobody}&type=web`, 'uuid'],
        [`?uuid=${nobody}&type=web&host=edge-1`, 'uuid'],
        [`?uuid=${nobody}&uuid=${conductor.uuid}`, 'uuid'],
        ['?type=web&host=edge-1&colour=red', 'colour'],
      ] as const) {
        const { status, json } = await s.get(`/v1/is-up${query}`);
        assert.deepEqual([query, status, json.code, json.field], [query, 400, 'bad-request', field]);
      }
      for (const [item, field] of [
        [{}, 'items/1/type'],
        [{ type: 'web' }, 'items/1/host'],
        [{ uuid: 'x' }, 'items/1/uuid'],
      ] as const) {
        const { status, json } = await s.send('POST', '/v1/is-up', { items: [{ uuid: nobody }, item] });
        assert.deepEqual([status, json.code, json.field], [400, 'bad-request', field]);
      }
    });

    row('L4 is-up by type and host, however they are written', async (s) => {
      await s.web(uuidNo(1), { type: 'shop/api' });
      await s.web(uuidNo(2), { type: 'a b+c&d=ü%/', host: 'EDGE-1' });
      assert.equal(await s.isUp('type=shop%2Fapi&host=edge-1'), true);
      assert.equal(await s.isUp('type=shop/api&host=Edge-1'), true);
      assert.equal(await s.isUp('type=a+b%2Bc%26d%3D%C3%BC%25%2F&host=edge-1'), true);
      assert.equal(await s.isUp('type=a%20b%2Bc%26d%3D%c3%bc%25%2f&host=EDGE-1'), true);
      assert.equal(await s.isUp('type=shop&host=edge-1'), false);
      assert.equal(await s.isUp('type=SHOP/API&host=edge-1'), false);
      assert.equal((await s.client.liveness.isUp({ type: 'shop/api', host: 'EDGE-1' })).up, true);
      const { json } = await s.send('POST', '/v1/is-up', {
        items: [
          { type: 'shop/api', host: 'Edge-1' },
          { uuid: uuidNo(2).toUpperCase().replaceAll('-', '') },
          { uuid: nobody },
        ],
      });
      assert.deepEqual(
        json.items.map(({ up, known }: { up: boolean; known: boolean }) => [up, known]),
        [
          [true, true],
          [true, true],
          [false, false],
        ],
      );
      for (const item of json.items) assert.equal(members(item), isUpMembers);
      assert.deepEqual((await s.send('POST', '/v1/is-up', { items: [] })).json, { items: [] });
    });

    row('L5 the same heartbeat every second keeps it UP for ten, and writes nothing', async (s) => {
      await s.web(uuidNo(1), { type: 'beaten' });
      await s.web(uuidNo(2), { type: 'put again' });
      await s.web(uuidNo(3), { type: 'in a batch' });
      await s.web(uuidNo(4), { type: 'silent' });
      const watch = await s.follow();
      for (let second = 0; second < 10; second += 1) {
        await s.clock.advance(1_000);
        assert.equal((await s.beat(uuidNo(1))).status, 200);
        assert.equal((await s.put(uuidNo(2), { type: 'put again', host: 'edge-1', ttl: 5 })).status, 200);
        assert.deepEqual((await s.send('POST', '/v1/heartbeats', { items: [{ uuid: uuidNo(3) }] })).json, {
          items: [{ uuid: uuidNo(3), code: null, status: 'UP' }],
        });
        for (const number of [1, 2, 3]) assert.equal(await s.isUp(`uuid=${uuidNo(number)}`), true);
      }
      // The control: the one that was silent did lapse, and is the only one of which there is an event.
      assert.equal(await s.isUp(`uuid=${uuidNo(4)}`), false);
      assert.deepEqual(
        (await watch.count(1)).map((event) => [event.type, event.service]),
        [['service.lapsed', 'silent']],
      );
      await watch.stop();
    });

    row('L5 a heartbeat answers the record as it is, and may have an empty body or {}', async (s) => {
      await s.web();
      for (const body of [undefined, '', '{}', 'null']) {
        const { status, json } = await s.http({
          method: 'POST',
          path: `/v1/services/${conductor.bare}/heartbeat`,
          body,
        });
        assert.equal(status, 200, String(body));
        assert.equal(members(json), recordMembers);
        assert.deepEqual([json.uuid, json.status, json.version], [conductor.uuid, 'UP', 1]);
      }
      assert.equal(
        outcome(await s.send('POST', `/v1/services/${conductor.uuid}/heartbeat`, { status: 'UP' })),
        '400 bad-request status',
      );
      assert.equal(outcome(await s.beat(nobody)), '404 not-found');
    });

    row('L7 a heartbeat after a lapse brings it back, whichever way it comes', async (s) => {
      const ways: ((uuid: string) => Promise<HttpAnswer>)[] = [
        (uuid) => s.beat(uuid),
        (uuid) => s.send('POST', '/v1/heartbeats', { items: [{ uuid }] }),
        (uuid) => s.put(uuid, {}),
        (uuid) => s.put(uuid, { type: 'web 3', host: 'edge-1', ttl: 5 }),
        (uuid) => s.put(uuid, { region: 'elsewhere' }),
      ];
      for (const number of ways.keys()) await s.web(uuidNo(number), { type: `web ${number}` });
      await s.lapse();
      const watch = await s.follow();
      for (const [number, way] of ways.entries()) {
        const uuid = uuidNo(number);
        assert.deepEqual((({ status, reason }) => [status, reason])((await s.record(uuid)).json), [
          'DOWN',
          'lapsed',
        ]);
        assert.equal((await way(uuid)).status, 200);
        assert.equal(await s.isUp(`uuid=${uuid}`), true);
        assert.deepEqual((({ status, reason }) => [status, reason])((await s.record(uuid)).json), [
          'UP',
          null,
        ]);
      }
      assert.deepEqual((await watch.count(5)).map(told), [
        ...Array.from({ length: 4 }, () => 'service.revived UP'),
        'service.set UP',
      ]);
      await watch.stop();
    });

    row(
      'L7 a heartbeat lifts a lapse and nothing else: DOWN that was set holds until UP is set',
      async (s) => {
        await s.web();
        await s.put(conductor.uuid, { status: 'DOWN' });
        for (let second = 0; second < 12; second += 1) {
          await s.clock.advance(1_000);
          assert.equal((await s.beat(conductor.uuid)).json.status, 'DOWN');
          assert.equal((await s.put(conductor.uuid, { ttl: 5 })).json.reason, 'set');
        }
        await s.lapse();
        assert.equal((await s.record(conductor.uuid)).json.reason, 'set');
        assert.equal((await s.put(conductor.uuid, { status: 'UP' })).json.status, 'UP');
        assert.equal(await s.isUp(`uuid=${conductor.uuid}`), true);
      },
    );

    row('L8 after a lapse record, lists and is-up agree that it is DOWN', async (s) => {
      await s.web(uuidNo(1), { type: 'gone' });
      await s.web(uuidNo(2), { type: 'alive', ttl: 60 });
      await s.lapse();
      assert.deepEqual(await s.list('?status=UP'), [uuidNo(2)]);
      assert.deepEqual(await s.list('?status=DOWN'), [uuidNo(1)]);
      assert.deepEqual(await s.list('?status=UP&status=DOWN'), [uuidNo(1), uuidNo(2)]);
      const { json } = await s.get('/v1/is-up?type=gone&host=edge-1');
      assert.deepEqual([json.up, json.known, json.reason], [false, true, 'lapsed']);
      assert.deepEqual(
        (await s.client.liveness.list({ status: ['UP'] }, { limit: 10 })).items.map(({ type }) => type),
        ['alive'],
      );
    });

    row('L13 a second uuid at the same type and host is a conflict that names the holder', async (s) => {
      await s.web();
      for (const answer of [
        await s.put(compute.uuid, { type: 'web', host: 'edge-1' }),
        await s.put(compute.uuid, { type: 'web', host: 'EDGE-1' }),
        await s.put(compute.uuid, { type: 'web', host: 'edge-1' }, '?takeover=false'),
        await s.send('POST', '/v1/services', { type: 'web', host: 'edge-1' }),
      ]) {
        assert.equal(outcome(answer), '409 conflict');
        assert.equal(answer.json.holder, conductor.uuid);
        assert.equal(answer.headers['content-type'], 'application/problem+json');
        assert.equal(members(answer.json), 'code detail holder requestId status title type');
      }
      assert.equal((await s.record(compute.uuid)).status, 404);
      // Moving there is the same.
      await s.web(compute.uuid, { type: 'other' });
      assert.equal((await s.put(compute.uuid, { type: 'web' })).json.holder, conductor.uuid);
      assert.equal((await s.record(compute.uuid)).json.type, 'other');
      await assert.rejects(
        s.client.liveness.put(
          { role: 'admin', subject: '' },
          compute.uuid,
          { type: 'web' },
          { takeover: false },
        ),
        {
          code: 'conflict',
          details: { holder: conductor.uuid },
        },
      );
    });

    row(
      'L13 takeover replaces the holder in one revision; the loser hears of it and cannot break the winner',
      async (s) => {
        await s.web();
        const watch = await s.follow();
        const taken = await s.put(compute.uuid, { type: 'web', host: 'edge-1', ttl: 60 }, '?takeover=true');
        assert.equal(taken.status, 201);
        const events = await watch.count(2);
        assert.deepEqual(
          events.map(({ type }) => type),
          ['service.taken-over', 'service.registered'],
        );
        assert.deepEqual(
          events.map(({ index }) => index),
          [0, 1],
        );
        assert.equal(events[0]?.position, events[1]?.position);
        assert.deepEqual(
          events.map(({ body }) => (body as { uuid: string }).uuid),
          [conductor.uuid, compute.uuid],
        );
        await watch.stop();

        assert.equal(outcome(await s.beat(conductor.uuid)), '410 taken-over');
        assert.deepEqual(
          (
            await s.send('POST', '/v1/heartbeats', {
              items: [{ uuid: conductor.bare }, { uuid: compute.uuid }, { uuid: nobody }],
            })
          ).json,
          {
            items: [
              { uuid: conductor.uuid, code: 'taken-over' },
              { uuid: compute.uuid, code: null, status: 'UP' },
              { uuid: nobody, code: 'not-found' },
            ],
          },
        );
        assert.equal(outcome(await s.record(conductor.uuid)), '404 not-found');
        assert.equal(outcome(await s.send('DELETE', `/v1/services/${conductor.uuid}`)), '404 not-found');
        assert.equal(outcome(await s.put(conductor.uuid, { type: 'web', host: 'edge-1' })), '409 conflict');
        assert.equal(await s.isUp('type=web&host=edge-1'), true);
        assert.equal(await s.isUp(`uuid=${compute.uuid}`), true);
        assert.equal(await s.isUp(`uuid=${conductor.uuid}`), false);
        assert.deepEqual(await s.list('?type=web&host=edge-1'), [compute.uuid]);
        // It may live on elsewhere, and take over in turn.
        assert.equal((await s.put(conductor.uuid, { type: 'web 2', host: 'edge-1' })).status, 201);
        assert.equal((await s.beat(conductor.uuid)).status, 200);
        assert.equal((await s.put(conductor.uuid, { type: 'web' }, '?takeover=true')).status, 200);
        assert.equal(outcome(await s.beat(compute.uuid)), '410 taken-over');
        assert.equal(await s.isUp('type=web%202&host=edge-1'), false);
      },
    );

    row('L13 deleting a record frees its place, and only its own', async (s) => {
      await s.web();
      await s.web(compute.uuid, { type: 'other' });
      assert.equal((await s.send('DELETE', `/v1/services/${conductor.uuid}`)).status, 204);
      assert.equal(await s.isUp('type=other&host=edge-1'), true);
      await s.web(uuidNo(1));
      assert.equal(await s.isUp('type=web&host=edge-1'), true);
    });

    row('L14 delete by uuid and by type and host answer 204, of what is unknown 404', async (s) => {
      await s.web();
      await s.web(compute.uuid, { type: 'shop/api' });
      const watch = await s.follow();
      const byUuid = await s.send('DELETE', `/v1/services/${conductor.bare.toUpperCase()}`);
      assert.deepEqual([byUuid.status, byUuid.text], [204, '']);
      assert.equal((await s.send('DELETE', '/v1/services?type=shop%2Fapi&host=EDGE-1')).status, 204);
      for (const path of [
        `/v1/services/${conductor.uuid}`,
        `/v1/services/${nobody}`,
        '/v1/services?type=web&host=edge-1',
      ]) {
        assert.equal(outcome(await s.send('DELETE', path)), '404 not-found', path);
      }
      assert.deepEqual(await s.list(), []);
      assert.equal(await s.isUp(`uuid=${conductor.uuid}`), false);
      assert.equal(outcome(await s.beat(conductor.uuid)), '404 not-found');
      const events = await watch.count(2);
      // The event says which one it was: os-lively's parsed as an UP service without a uuid.
      assert.deepEqual(
        events.map(({ type, body }) => [type, (body as { uuid: string }).uuid]),
        [
          ['service.deleted', conductor.uuid],
          ['service.deleted', compute.uuid],
        ],
      );
      await watch.stop();
      await assert.rejects(s.client.liveness.delete({ role: 'admin', subject: '' }, { uuid: nobody }), {
        code: 'not-found',
      });
    });

    row(
      'L14 delete without a uuid needs type and host, so that nobody deletes a fleet by a slip',
      async (s) => {
        await s.web();
        for (const [query, field] of [
          ['', 'type'],
          ['?type=web', 'host'],
          ['?host=edge-1', 'type'],
          ['?region=east', 'type'],
          ['?type=web&host=edge-1&status=UP', 'status'],
          ['?type=web&type=x&host=edge-1', 'type'],
        ] as const) {
          const { status, json } = await s.send('DELETE', `/v1/services${query}`);
          assert.deepEqual([query, status, json.code, json.field], [query, 400, 'bad-request', field]);
        }
        assert.deepEqual(await s.list(), [conductor.uuid]);
      },
    );

    row('L16 taking an unknown service down is 404, with or without maintenance', async (s) => {
      for (const answer of [
        await s.put(nobody, { status: 'DOWN' }),
        await s.put(nobody, { status: 'DOWN', host: 'edge-1' }),
        // A program need not know what its host is called: on the agent the host goes without saying.
        ...(kind === 'registry' ? [await s.put(nobody, { status: 'DOWN', type: 'web' })] : []),
        await s.put(nobody, {}),
        await s.send('PUT', `/v1/services/${nobody}/maintenance`, { down: true, note: 'disk' }),
        await s.send('PUT', `/v1/services/${nobody}/maintenance`, {}),
        await s.send('DELETE', `/v1/services/${nobody}/maintenance`),
      ]) {
        assert.equal(outcome(answer), '404 not-found');
        assert.equal(members(answer.json), 'code detail requestId status title type');
        assert.equal(answer.json.requestId, answer.headers['x-request-id']);
      }
      assert.deepEqual(await s.list(), []);
    });

    row('L17 maintenance that ends before it starts is refused, and changes nothing', async (s) => {
      await s.web();
      for (const plan of [
        { start: '2026-01-02T00:00:00Z', end: '2026-01-01T23:59:59.999Z' },
        // Without a start it starts now, which is 2026-01-01.
        { end: '2025-12-31T23:59:59Z' },
        // Zones count: this end is half an hour before the start.
        { start: '2026-01-02T00:00:00Z', end: '2026-01-02T00:30:00+01:00' },
      ]) {
        assert.equal(
          outcome(await s.send('PUT', `/v1/services/${conductor.uuid}/maintenance`, plan)),
          '400 bad-request end',
          JSON.stringify(plan),
        );
      }
      for (const [plan, field] of [
        [{ start: 'tomorrow' }, 'start'],
        [{ start: 1767225600 }, 'start'],
        [{ end: '2026-01-02T00:00:00' }, 'end'],
        [{ start: null }, 'start'],
        [{ note: 7 }, 'note'],
        [{ down: 'yes' }, 'down'],
        [{ until: '2026-01-02T00:00:00Z' }, 'until'],
      ] as const) {
        const { status, json } = await s.send('PUT', `/v1/services/${conductor.uuid}/maintenance`, plan);
        assert.deepEqual([status, json.field], [400, field]);
      }
      const { json } = await s.record(conductor.uuid);
      assert.deepEqual([json.maintenance, json.version], [null, 1]);
    });

    row(
      'L17 maintenance starts now unless told, ends by itself, and never changes whether it is up',
      async (s) => {
        await s.web(conductor.uuid, { ttl: '1d' });
        const put = (plan: unknown) => s.send('PUT', `/v1/services/${conductor.bare}/maintenance`, plan);
        const active = async () => (await s.get(`/v1/is-up?uuid=${conductor.uuid}`)).json;

        // Only an end.
        const { status, json } = await put({ end: '2026-01-01T00:00:10Z', note: 'Failed disk /dev/sda' });
        assert.equal(status, 200);
        assert.equal(members(json), recordMembers);
        assert.deepEqual(json.maintenance, {
          start: '2026-01-01T00:00:00.000Z',
          end: '2026-01-01T00:00:10.000Z',
          note: 'Failed disk /dev/sda',
          active: true,
        });
        assert.deepEqual([json.status, json.reason], ['UP', null]);
        assert.deepEqual([(await active()).up, (await active()).maintenance], [true, json.maintenance]);
        await s.clock.advance(9_999);
        assert.equal((await active()).maintenance.active, true);
        await s.clock.advance(1);
        assert.deepEqual([(await active()).up, (await active()).maintenance.active], [true, false]);

        // In the future; an end at the start is none before it.
        assert.equal((await put({ start: '2026-01-01T00:01:00Z', end: '2026-01-01T00:01:00Z' })).status, 200);
        assert.equal(
          (await put({ start: '2026-01-01T00:01:00Z', end: null })).json.maintenance.active,
          false,
        );
        await s.clock.advance(50_000);
        assert.equal((await active()).maintenance.active, true);

        // No body at all: from now until it is deleted.
        assert.deepEqual((await put(undefined)).json.maintenance, {
          start: '2026-01-01T00:01:00.000Z',
          end: null,
          note: null,
          active: true,
        });
        await s.clock.advance(3_600_000);
        assert.equal((await active()).maintenance.active, true);
        const ended = await s.send('DELETE', `/v1/services/${conductor.uuid}/maintenance`);
        assert.deepEqual([ended.status, ended.json.maintenance, ended.json.status], [200, null, 'UP']);
        assert.equal((await s.send('DELETE', `/v1/services/${conductor.uuid}/maintenance`)).status, 200);
      },
    );

    row('L17 maintenance with down also sets DOWN, which stays when it ends', async (s) => {
      await s.web(conductor.uuid, { ttl: '1d' });
      const watch = await s.follow();
      const { json } = await s.send('PUT', `/v1/services/${conductor.uuid}/maintenance`, {
        down: true,
        end: '2026-01-01T00:00:10Z',
      });
      assert.deepEqual([json.status, json.reason, json.maintenance.active], ['DOWN', 'set', true]);
      await s.clock.advance(20_000);
      assert.equal((await s.beat(conductor.uuid)).json.status, 'DOWN');
      assert.equal((await s.put(conductor.uuid, { status: 'UP' })).json.status, 'UP');
      assert.deepEqual((await watch.count(2)).map(told), ['service.maintained DOWN', 'service.set UP']);
      await watch.stop();
    });

    row('L19 a watcher sees DOWN, UP, DOWN and nothing else', async (s) => {
      await s.web();
      await s.web(compute.uuid, { type: 'bystander', ttl: 60 });
      const watch = await follow(s.client, {
        select: { types: ['service.*'], services: { uuid: [conductor.bare.toUpperCase()] } },
      });
      for (const status of ['DOWN', 'UP', 'DOWN']) {
        await s.clock.advance(1_000);
        assert.equal((await s.put(conductor.uuid, { status })).status, 200);
        await s.beat(conductor.uuid);
        await s.put(compute.uuid, { status });
      }
      const events = await watch.count(3);
      assert.deepEqual(
        events.map(({ body }) => (body as { status: string }).status),
        ['DOWN', 'UP', 'DOWN'],
      );
      for (const event of events) {
        assert.deepEqual([event.type, event.host, event.service], ['service.set', 'edge-1', 'web']);
        assert.equal(members(event.body as object), recordMembers);
      }
      await watch.stop();
    });

    row('L20 a lapse is an event, half a second after its instant at the latest', async (s) => {
      await s.web();
      const watch = await s.follow();
      await s.clock.advance(4_999);
      assert.equal(await s.isUp(`uuid=${conductor.uuid}`), true);
      await s.clock.advance(501);
      const [event] = await watch.count(1);
      assert.equal(event?.type, 'service.lapsed');
      const { status, reason, uuid } = (event?.body ?? {}) as Record<string, string>;
      assert.deepEqual([uuid, status, reason], [conductor.uuid, 'DOWN', 'lapsed']);
      // It has lapsed once, and that is all there is to tell.
      await s.clock.advance(60_000);
      await s.put(conductor.uuid, { status: 'UP' });
      assert.deepEqual((await watch.count(2)).map(told), ['service.lapsed DOWN', 'service.set UP']);
      await watch.stop();
    });

    row('L22 an update of a version that is gone by is a conflict; of two at once one wins', async (s) => {
      const { json } = await s.web();
      assert.equal(json.version, 1);
      const answers = await Promise.all(
        ['east', 'west', 'north'].map((region) => s.put(conductor.uuid, { region, version: 1 })),
      );
      assert.deepEqual(answers.map(outcome).sort(), ['200', '409 conflict version', '409 conflict version']);
      const won = answers.find(({ status }) => status === 200)?.json;
      assert.deepEqual([(await s.record(conductor.uuid)).json.region, won.version], [won.region, 2]);
      assert.equal(
        outcome(await s.put(conductor.uuid, { region: won.region, version: 1 })),
        '409 conflict version',
      );
      assert.equal(outcome(await s.put(conductor.uuid, { region: 'x', version: 3 })), '409 conflict version');
      for (const version of ['2', 2.5, -1, null]) {
        assert.equal(outcome(await s.put(conductor.uuid, { version })), '400 bad-request version');
      }
      assert.equal((await s.put(conductor.uuid, { region: 'south', version: 2 })).json.version, 3);
      await assert.rejects(
        s.client.liveness.put(
          { role: 'admin', subject: '' },
          conductor.uuid,
          { region: 'x', version: 2 },
          { takeover: false },
        ),
        { code: 'conflict' },
      );
    });

    row('L22 a record that was read may be sent back: read-only members are ignored', async (s) => {
      await s.web();
      await s.send('PUT', `/v1/services/${conductor.uuid}/maintenance`, { note: 'disk' });
      const { json } = await s.record(conductor.uuid);
      const back = await s.put(conductor.uuid, {
        ...json,
        confirmed: false,
        heldBy: 'nobody',
        lastSeen: 7,
        reason: 'set',
        maintenance: null,
      });
      assert.equal(back.status, 200, back.text);
      assert.deepEqual(back.json, json);
      assert.equal((await s.put(conductor.uuid, { ...json, region: 'east' })).json.version, json.version + 1);
      assert.equal(
        outcome(await s.put(conductor.uuid, { ...json, colour: 'red' })),
        '400 bad-request colour',
      );
      assert.equal((await s.put(conductor.uuid, { uuid: conductor.bare.toUpperCase() })).status, 200);
    });

    row('L23 a ttl under 5 is raised to 5, others are kept, and impossible ones refused', async (s) => {
      for (const [asked, answered] of [
        [1, 5],
        ['500ms', 5],
        [4.999, 5],
        [5, 5],
        [5.5, 5.5],
        ['30s', 30],
        ['2m', 120],
        ['1w', 604_800],
        [604_800, 604_800],
      ] as const) {
        const { json, status } = await s.put(conductor.uuid, { type: 'web', host: 'edge-1', ttl: asked });
        assert.deepEqual([asked, status < 300, json.ttl], [asked, true, answered]);
      }
      for (const ttl of [0, -1, '0s', 604_801, '8d', '2w', 1e300, 'soon', '', '5 s', null, true, [5]]) {
        assert.equal(
          outcome(await s.put(conductor.uuid, { ttl })),
          '400 bad-request ttl',
          JSON.stringify(ttl),
        );
        assert.equal((await s.put(compute.uuid, { type: 'x', host: 'edge-1', ttl })).status, 400);
      }
      assert.equal((await s.record(conductor.uuid)).json.ttl, 604_800);
      assert.deepEqual(await s.list(), [conductor.uuid]);
      // The default.
      assert.equal((await s.put(compute.uuid, { type: 'x', host: 'edge-1' })).json.ttl, 60);
    });

    row('L23 the raised ttl is the one that counts', async (s) => {
      await s.put(conductor.uuid, { type: 'web', host: 'edge-1', ttl: 1 });
      await s.clock.advance(4_900);
      assert.equal(await s.isUp(`uuid=${conductor.uuid}`), true);
      await s.clock.advance(600);
      assert.equal(await s.isUp(`uuid=${conductor.uuid}`), false);
    });

    row('L25 without a uuid one is made; an empty or broken one is refused', async (s) => {
      const first = await s.send('POST', '/v1/services', { type: 'web', host: 'edge-1' });
      const second = await s.send('POST', '/v1/services', { type: 'web 2', host: 'edge-1' });
      assert.deepEqual([first.status, second.status], [201, 201]);
      for (const { json } of [first, second]) {
        assert.match(json.uuid, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
        assert.equal(members(json), recordMembers);
      }
      assert.notEqual(first.json.uuid, second.json.uuid);
      for (const uuid of [
        '%20',
        '-',
        '0',
        'web',
        `${conductor.uuid}x`,
        conductor.bare.slice(1),
        '%7B%7D',
        "'%20OR%201=1",
        'gggggggg-bbc4-4bc8-b0d3-7df6e8d70223',
      ]) {
        const answer = await s.put(uuid, { type: 'web 3', host: 'edge-1' });
        assert.equal(outcome(answer), '400 bad-request uuid', uuid);
        assert.equal(members(answer.json), 'code detail field requestId status title type');
      }
      assert.equal(outcome(await s.put('', { type: 'web 3', host: 'edge-1' })), '400 bad-request uuid');
      for (const body of [
        {},
        { host: 'edge-1' },
        { type: '', host: 'edge-1' },
        { type: 'web 3', host: '' },
      ]) {
        assert.equal((await s.send('POST', '/v1/services', body)).status, 400, JSON.stringify(body));
      }
      const hostless = await s.send('POST', '/v1/services', { type: 'web 3' });
      if (kind === 'registry') assert.equal(outcome(hostless), '400 bad-request host');
      else assert.equal(hostless.json.host, 'edge-1');
      assert.deepEqual((await s.list()).length, kind === 'registry' ? 2 : 3);
      // POST makes one whatever the body says: a record that is sent back has a uuid, and an empty one is none.
      for (const uuid of ['', compute.bare]) {
        const { json } = await s.send('POST', '/v1/services', {
          type: `with "${uuid}"`,
          host: 'edge-1',
          uuid,
        });
        assert.match(json.uuid, /^[0-9a-f]{8}-[0-9a-f]{4}-7/);
      }
    });

    row('uuids may be written with any case and without dashes, and are answered in one form', async (s) => {
      const spelt = [
        conductor.bare,
        conductor.bare.toUpperCase(),
        conductor.uuid.toUpperCase(),
        conductor.uuid,
      ];
      for (const [index, uuid] of spelt.entries()) {
        const { status, json } = await s.put(uuid, { type: 'web', host: 'edge-1' });
        assert.deepEqual([status, json.uuid, json.version], [index === 0 ? 201 : 200, conductor.uuid, 1]);
        assert.equal(await s.isUp(`uuid=${uuid}`), true);
        assert.equal((await s.record(uuid)).json.uuid, conductor.uuid);
        assert.deepEqual(await s.list(`?uuid=${uuid}`), [conductor.uuid]);
        assert.equal((await s.beat(uuid)).json.uuid, conductor.uuid);
      }
      assert.equal((await s.get(`/v1/services?uuid=nonsense`)).status, 400);
    });

    row(
      'a record has exactly its members; PUT answers 201, then 200, and sets only what it names',
      async (s) => {
        const { status, json } = await s.put(conductor.uuid, {
          type: 'web',
          host: 'edge-1',
          region: 'us-east',
          ttl: 30,
        });
        assert.equal(status, 201);
        assert.deepEqual(json, {
          uuid: conductor.uuid,
          type: 'web',
          host: 'edge-1',
          region: 'us-east',
          status: 'UP',
          reason: null,
          ttl: 30,
          maintenance: null,
          confirmed: true,
          heldBy: kind,
          lastSeen: '2026-01-01T00:00:00.000Z',
          version: 1,
        });
        await s.clock.advance(1_000);
        const beaten = { ...json, lastSeen: '2026-01-01T00:00:01.000Z' };
        const same = await s.put(conductor.uuid, {});
        assert.deepEqual([same.status, same.json], [200, beaten]);
        assert.deepEqual((await s.put(conductor.uuid, { region: null })).json, {
          ...beaten,
          region: null,
          version: 2,
        });
        assert.deepEqual((await s.record(conductor.uuid)).json, { ...beaten, region: null, version: 2 });
        const list = (await s.get('/v1/services')).json;
        assert.equal(members(list), listMembers);
        assert.deepEqual(
          [list.items, list.next, list.stale],
          [[{ ...beaten, region: null, version: 2 }], null, false],
        );
        assert.match(list.position, /^\d+\.\d+$/);
      },
    );

    row('heartbeats take a thousand at a time and answer each', async (s) => {
      await s.web();
      const items = Array.from({ length: 1_000 }, (_, number) => ({
        uuid: number === 500 ? conductor.bare : uuidNo(number),
      }));
      const { status, json } = await s.send('POST', '/v1/heartbeats', { items });
      assert.equal(status, 200);
      assert.equal(json.items.length, 1_000);
      assert.deepEqual(json.items[500], { uuid: conductor.uuid, code: null, status: 'UP' });
      assert.deepEqual(json.items[501], { uuid: uuidNo(501), code: 'not-found' });
      assert.deepEqual((await s.send('POST', '/v1/heartbeats', { items: [] })).json, { items: [] });
      const over = await s.send('POST', '/v1/heartbeats', { items: [...items, { uuid: nobody }] });
      assert([400, 413].includes(over.status), over.text);
      for (const body of [
        undefined,
        {},
        { items: {} },
        { items: [conductor.uuid] },
        { items: [{ uuid: '' }] },
        { items: [{}] },
      ]) {
        assert.equal((await s.send('POST', '/v1/heartbeats', body)).status, 400, JSON.stringify(body));
      }
    });

    row('names: any printable one of 1 to 128 characters, hosts in their one form', async (s) => {
      const long = 'ü'.repeat(128);
      assert.equal((await s.put(uuidNo(1), { type: long, host: 'edge-1' })).json.type, long);
      assert.equal(await s.isUp(`type=${encodeURIComponent(long)}&host=edge-1`), true);
      for (const [body, field] of [
        [{ type: 'ü'.repeat(129), host: 'edge-1' }, 'type'],
        [{ type: '', host: 'edge-1' }, 'type'],
        [{ type: 'a\nb', host: 'edge-1' }, 'type'],
        [{ type: 'a\u0000', host: 'edge-1' }, 'type'],
        [{ type: 'a\u202eb', host: 'edge-1' }, 'type'],
        [{ type: 'web', host: '' }, 'host'],
        [{ type: 'web', host: 'edge-1', region: '' }, 'region'],
        [{ type: 'web', host: 'edge-1', region: 'r'.repeat(129) }, 'region'],
        [{ type: 7, host: 'edge-1' }, 'type'],
        [{ type: 'web', host: 'edge-1', status: 'up' }, 'status'],
        [{ type: 'web', host: 'edge-1', status: null }, 'status'],
      ] as const) {
        assert.equal(outcome(await s.put(uuidNo(2), body)), `400 bad-request ${field}`, JSON.stringify(body));
      }
      assert.deepEqual(await s.list(), [uuidNo(1)]);
    });

    row('pages of a list follow each other without a gap', async (s) => {
      const all = Array.from({ length: 25 }, (_, number) => uuidNo(number));
      for (const [number, uuid] of all.entries())
        await s
          .web(uuid, { type: `t${number % 2}`, host: 'edge-1', region: `r${number}` })
          .catch(() => s.put(uuid, { type: `u${number}`, host: 'edge-1', ttl: 5 }));
      const found: string[] = [];
      let cursor = '';
      do {
        const { json } = await s.get(
          `/v1/services?limit=7${cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`}`,
        );
        assert(json.items.length <= 7);
        found.push(...json.items.map(({ uuid }: { uuid: string }) => uuid));
        cursor = json.next ?? '';
      } while (cursor !== '');
      assert.deepEqual(found, all);
      for (const query of [
        'limit=0',
        'limit=1001',
        'limit=x',
        'limit=1.5',
        'cursor=nonsense',
        'limit=1&limit=2',
        'status=up',
        'type=',
        'order=uuid',
      ]) {
        assert.equal(outcome(await s.get(`/v1/services?${query}`)).slice(0, 15), '400 bad-request', query);
      }
    });
  });
}
