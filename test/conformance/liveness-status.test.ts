/**
 * conformance/liveness.md, row by row, black-box over HTTP, on a registry and on an agent that stands
 * alone: what is UP and why not. Time is fake; liveness-fleet.test.ts has the control in real time. Around each row
 * its neighbours: the rule is tested, not the example.
 */
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { follow, told } from '../helpers/follow.ts';
import type { HttpAnswer } from '../helpers/http.ts';
import {
  compute,
  conductor,
  isUpMembers,
  members,
  nobody,
  outcome,
  recordMembers,
  uuidNo,
} from '../helpers/records.ts';
import { kinds, rowsOf } from './subject.ts';

for (const kind of kinds) {
  const row = rowsOf(kind);

  describe(`liveness conformance: status on the ${kind}`, () => {
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
  });
}
