/**
 * conformance/liveness.md, row by row, as liveness-status.test.ts: what may be registered, changed and
 * deleted, by whom it is held, and how it is written.
 */
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import {
  compute,
  conductor,
  listMembers,
  members,
  nobody,
  outcome,
  recordMembers,
  uuidNo,
} from '../helpers/records.ts';
import { kinds, rowsOf } from './subject.ts';

for (const kind of kinds) {
  const row = rowsOf(kind);

  describe(`liveness conformance: records on the ${kind}`, () => {
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
