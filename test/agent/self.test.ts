/** What a host says of itself reaches the registry, and follows its configuration. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Stage } from '../helpers/boot.ts';
import { until } from '../helpers/until.ts';

test('host.self reaches the registry after the join, changes with the configuration, and selects as @self', async (t) => {
  const stage = Stage.open(t);
  const registry = await stage.registry();
  const dataDir = stage.folder();
  const start = (self: Record<string, string>) =>
    stage.agent({ dataDir, name: 'edge-1', self, registry: { url: registry.url, token: registry.token } });
  const told = async () => {
    await stage.clock.advance(1_000);
    return (await registry.http({ path: '/v1/hosts/edge-1' })).json?.self as
      | Record<string, string>
      | undefined;
  };
  const agent = await start({ rack: 'r7', floor: '2' });
  await until(async () => (await told())?.['rack'] === 'r7', 'it was not told');
  assert.deepEqual(await told(), { floor: '2', rack: 'r7' });
  await agent.http({ method: 'POST', path: '/v1/services', body: { type: 'web' } });
  const names = async (of: typeof registry, path: string) =>
    ((await of.http({ path })).json.items as { host?: string; name?: string }[]).map(
      ({ host, name }) => host ?? name,
    );
  assert.deepEqual(await names(registry, '/v1/hosts?selector=@self/rack=r7'), ['edge-1']);
  assert.deepEqual(await names(registry, '/v1/hosts?selector=rack'), []);
  assert.deepEqual(
    ((await agent.http({ path: '/v1/services?host=edge-1&selector=@self/rack=r7' })).json.items as object[])
      .length,
    1,
  );
  await agent.close();

  const same = await registry.http({ path: '/v1/hosts/edge-1' });
  const again = await start({ floor: '2', rack: 'r7' });
  await again.close();
  const moved = await start({ rack: 'r8' });
  await until(async () => (await told())?.['rack'] === 'r8', 'the change was not told');
  assert.deepEqual(await told(), { rack: 'r8' });
  const { events } = await labelEvents(registry.url, registry.token);
  assert.deepEqual(
    events.map(({ before }) => before?.self),
    [{}, { floor: '2', rack: 'r7' }],
  );
  assert.ok(same.json.version > 1);
  await moved.close();
});

interface LabelEvent {
  readonly type: string;
  readonly before?: { readonly self?: object };
}

/** All that the log holds of labels. */
async function labelEvents(url: string, token: string): Promise<{ events: readonly LabelEvent[] }> {
  const { items: _items, position } = (await (
    await fetch(`${url}/v1/hosts?limit=1`, { headers: { authorization: `Bearer ${token}` } })
  ).json()) as { items: unknown; position: string };
  const [epoch] = position.split('.');
  const response = await fetch(`${url}/v1/events?types=host.labelled&since=${epoch}.0`, {
    headers: { authorization: `Bearer ${token}` },
  });
  const reader = response.body?.getReader();
  const { value } = (await reader?.read()) ?? {};
  await reader?.cancel();
  const text = Buffer.from(value ?? []).toString();
  const data = /^data: (.*)$/m.exec(text)?.[1] ?? '{}';
  return { events: (JSON.parse(data) as { events?: LabelEvent[] }).events ?? [] };
}
