/**
 * kill -9 of a registry while it tells a sink: nothing is lost, the order stays, and what is told twice is what was under
 * way, under the same id.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { bundleProgram } from '../helpers/bundle.ts';
import { hookServer } from '../helpers/hook-server.ts';
import { portOf, reach, registryArguments, startProcess } from '../helpers/process.ts';
import { SeededRandom } from '../helpers/random.ts';
import { tempFolder } from '../helpers/temp.ts';
import { until } from '../helpers/until.ts';

const rounds = 20;

interface Told {
  readonly id: string;
  readonly events: readonly { readonly body: { readonly version: string } }[];
}

test('kill -9 of a registry that tells a sink loses no event, and repeats only what was under way', {
  timeout: 300_000,
}, async (t) => {
  const random = SeededRandom.fresh(t);
  const hook = await hookServer(t);
  const program = await bundleProgram(tempFolder(t));
  const dataDir = tempFolder(t);
  const config = join(tempFolder(t), 'registry.yaml');
  const notify = {
    sinks: { hook: { webhook: hook.url } },
    rules: [{ select: { types: ['release.published'] }, to: ['hook'], groupWait: 0 }],
  };
  writeFileSync(config, JSON.stringify({ notify }));
  const start = (port: number) =>
    startProcess(t, [...registryArguments(dataDir, port), '--config', config], program);
  let registry = start(0);
  const centre = reach(t, await registry.ready('registry'));
  const port = portOf(centre.url);

  // Now and then the answer takes longer than the registry has left.
  const late: (() => void)[] = [];
  hook.answer = (_taken, response) => {
    const end = () => response.writeHead(204).end();
    if (random.uniform() < 0.3) late.push(end);
    else end();
  };
  let published = 0;
  const publish = async (count: number) => {
    for (let index = 0; index < count; index += 1) {
      published += 1;
      const { status } = await centre.http({
        method: 'PUT',
        path: `/v1/components/shop%2Fapi/trains/stable/releases/${published}`,
        body: { released: '2026-01-01T00:00:00Z' },
      });
      assert.equal(status, 201);
    }
  };
  const told = () => hook.taken.map(({ body }) => body as unknown as Told);
  const versions = () => new Set(told().flatMap(({ events }) => events.map(({ body }) => body.version)));

  for (let round = 0; round < rounds; round += 1) {
    const before = hook.taken.length;
    await publish(random.integer(1, 8));
    if (random.uniform() < 0.7) await until(() => hook.taken.length > before, 'the sink is told');
    await registry.kill('SIGKILL');
    for (const end of late.splice(0)) end();
    registry = start(port);
    await registry.ready('registry');
  }
  hook.answer = (_taken, response) => response.writeHead(204).end();
  await publish(1);
  await until(
    () => versions().size === published,
    () => `${versions().size} of ${published} were told`,
    60_000,
  );

  const firsts = [...new Map(told().map((one) => [one.id, one])).values()];
  const inOrder = firsts.flatMap(({ events }) => events.map(({ body }) => Number(body.version)));
  assert.deepEqual(
    inOrder,
    Array.from({ length: published }, (_, index) => index + 1),
    'each event once, in order, when the same id counts once',
  );
  const repeated = told().length - firsts.length;
  assert.ok(repeated <= rounds, `${repeated} repetitions in ${rounds} lives`);
});
