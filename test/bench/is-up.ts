/** Is it up? One at a time, and a hundred at a time, beside a bare server that answers the same bodies. */
import { type BenchGroup, registerServices, startBareLike, startRegistry } from './bench.ts';
import { medians } from './heartbeats.ts';
import { perSecond, type Row, row } from './table.ts';
import { compare, connections, type Request } from './wrk.ts';

const services = 1_000;
const bulk = 100;

export const isUp: BenchGroup = {
  name: 'is-up',
  async run(bench) {
    const registry = await startRegistry(bench);
    const uuids = await registerServices(registry, services);
    const { token } = registry;
    const gets = uuids.map((uuid): Request => ({ method: 'GET', path: `/v1/is-up?uuid=${uuid}`, token }));
    const posts = Array.from({ length: services / bulk }, (_, n): Request => {
      const items = uuids.slice(n * bulk, (n + 1) * bulk).map((uuid) => ({ uuid }));
      return { method: 'POST', path: '/v1/is-up', token, body: { items } };
    });
    const rows: Row[] = [];
    const notes: string[] = [];
    for (const [work, requests, each] of [
      ['is-up, one (GET)', gets, 1],
      [`is-up, ${bulk} in one POST`, posts, bulk],
    ] as const) {
      bench.say(work);
      const [first] = requests;
      if (first === undefined) throw new Error('no requests');
      const bare = await startBareLike(bench, registry, first);
      const results = await compare(bench, [
        { name: work, url: registry.url, pid: registry.server.pid, requests: async () => [requests] },
        { name: 'bare', url: bare.url, pid: bare.server.pid, requests: async () => [requests] },
      ]);
      const [ours, beside] = results;
      if (ours === undefined || beside === undefined) throw new Error('a comparison has two sides');
      rows.push(
        row({
          work,
          ours: perSecond(ours.perSecond),
          beside: `bare ${perSecond(beside.perSecond)}`,
          ratio: ours.perSecond / beside.perSecond,
          reach: '≥ 0.8 ×',
          met: ours.perSecond >= 0.8 * beside.perSecond,
          cpu: [ours.cpuUs, beside.cpuUs],
        }),
      );
      if (each > 1)
        notes.push(
          `In bulk that is ${perSecond(ours.perSecond * each)} statuses, ${(ours.cpuUs / each).toFixed(2)} µs each.`,
        );
      notes.push(...medians(results));
      await bare.server.stop();
    }
    await registry.server.stop();
    return {
      title: `is-up over HTTP/1.1 keep-alive (${connections} connections, ${services} records)`,
      rows,
      notes,
    };
  },
};
