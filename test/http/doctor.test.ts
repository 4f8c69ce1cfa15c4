/** Doctor reports over HTTP, of a real registry and a real agent. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { limits } from '../../src/base/limits.ts';
import { systemCaller as caller } from '../../src/domain/access.ts';
import { Stage } from '../helpers/boot.ts';
import { until } from '../helpers/until.ts';

const id = '01a1faf9-f6b5-7620-b23f-53dfdf01b16b';
const path = `/v1/doctor/${id}`;

async function boot(t: TestContext) {
  const stage = Stage.open(t);
  const registry = await stage.registry();
  const { id: host, credential } = await registry.client.hosts.join(caller, {
    name: 'edge-1',
    region: null,
    machineId: 'm',
  });
  const post = (body: object, token = credential, at = path) =>
    registry.http({ method: 'POST', path: at, body, token });
  return { stage, registry, host, credential, post };
}

test('fileDoctorReport takes a report of a host under its own name, once', async (t) => {
  const { registry, post } = await boot(t);
  const body = { host: 'somebody-else', comment: 'it is ill', report: { format: 1 } };
  const created = await post(body);
  assert.equal(created.status, 201, created.text);
  assert.deepEqual([created.json.id, created.json.host, created.json.sender], [id, 'edge-1', 'host:edge-1']);
  const again = await post(body);
  assert.deepEqual([again.status, again.json], [200, created.json]);
  const other = await post({ ...body, report: { format: 2 } });
  assert.deepEqual([other.status, other.json.code], [409, 'conflict']);
  const kept = await registry.http({ path });
  assert.deepEqual([kept.json.report, kept.json.comment], [{ format: 1 }, 'it is ill']);
});

test('fileDoctorReport refuses what is no report, and leaves nothing', async (t) => {
  const { registry, post, credential } = await boot(t);
  const large = 'x'.repeat(limits.doctorReportBytes);
  const cases: [object, number, string][] = [
    [{}, 400, path],
    [{ report: [] }, 400, path],
    [{ report: {}, more: 1 }, 400, path],
    [{ report: {}, comment: '\u0007' }, 400, path],
    [{ report: {}, comment: 'x'.repeat(limits.doctorCommentBytes + 1) }, 400, path],
    [{ report: { large } }, 413, path],
    [{ report: { large: large.repeat(2) } }, 413, path],
    [{ report: {} }, 400, '/v1/doctor/no-uuid'],
  ];
  for (const [body, status, at] of cases) {
    const answer = await post(body, credential, at);
    assert.equal(answer.status, status, answer.text.slice(0, 300));
  }
  assert.deepEqual((await registry.http({ path: '/v1/doctor' })).json.items, []);
});

test('only an admin lists, reads and removes reports, and the audit keeps who did', async (t) => {
  const { registry, post, credential } = await boot(t);
  await post({ report: { format: 1 } });
  const { tokens } = registry.client;
  const operator = (await tokens.create(caller, { role: 'operator', subject: 'olga' })).token;
  for (const token of [credential, operator])
    for (const [method, at] of [
      ['GET', '/v1/doctor'],
      ['GET', path],
      ['DELETE', path],
    ] as const)
      assert.equal((await registry.http({ method, path: at, token })).status, 403);
  const ann = (await tokens.create(caller, { role: 'admin', subject: 'ann' })).token;
  const listed = await registry.http({ path: '/v1/doctor', token: ann });
  assert.deepEqual(
    listed.json.items.map((one: { id: string; report?: unknown }) => [one.id, 'report' in one]),
    [[id, false]],
  );
  assert.equal((await registry.http({ path, token: ann })).status, 200);
  assert.equal((await registry.http({ method: 'DELETE', path, token: ann })).status, 204);
  assert.equal((await registry.http({ path, token: ann })).status, 404);
  const { items } = await registry.client.audit.list({ type: ['doctor.*'] }, { limit: 10 });
  assert.deepEqual(
    items.map(({ actor, type }) => [actor, type]),
    [
      ['ann', 'doctor.removed'],
      ['ann', 'doctor.read'],
    ],
  );
});

test('an agent passes a report on as its host, and says so where it cannot', async (t) => {
  const { stage, registry } = await boot(t);
  const agent = await stage.agent({ name: 'edge-2', registry: { url: registry.url, token: registry.token } });
  await until(async () => (await agent.http({ path: '/v1/status' })).json.registry.joined === true);
  const sent = await agent.http({ method: 'POST', path, body: { report: { format: 1 } } });
  assert.equal(sent.status, 201, sent.text);
  assert.deepEqual([sent.json.host, sent.json.sender], ['edge-2', 'host:edge-2']);
  const alone = await stage.agent({ name: 'edge-3', registry: null });
  const refused = await alone.http({ method: 'POST', path, body: { report: {} } });
  assert.deepEqual([refused.status, refused.json.code], [422, 'unprocessable']);
  assert.match(refused.json.detail, /this host has no registry/);
});

test('getDiagnosis tells of the agent: versions, target, resources, and what it warned of', async (t) => {
  const { stage, registry } = await boot(t);
  const agent = await stage.agent({
    name: 'edge-2',
    registry: { url: registry.url, token: registry.token },
    detectors: [{ name: 'broken', everyMs: 60_000, detect: () => Promise.reject(new Error('it fell off')) }],
  });
  const told = await until(async () => {
    const { json } = await agent.http({ path: '/v1/diagnosis' });
    return json.target !== null && json.problems.length > 0 && json;
  });
  assert.equal(told.host.name, 'edge-2');
  assert.equal(told.versions.node, process.versions.node);
  assert(told.resources.process.openFiles > 5 && told.resources.dataDir.files['holdfast.db'] > 0);
  assert.match(JSON.stringify(told.problems), /it fell off/);
  assert.equal(told.target.settings.name, 'edge-2');
  assert(!JSON.stringify(told).includes(registry.token));
});
