/**
 * The routes of the durable rows without storage: the product's own HTTP server and domain rules, on records in memory
 * and no log. What the registry takes longer than this is what its store costs.
 *
 *     node volatile-server.ts <token>
 */
import { systemClock } from '../../src/base/clock.ts';
import { createLogger } from '../../src/base/log.ts';
import { systemRandom } from '../../src/base/random.ts';
import type { Caller } from '../../src/domain/access.ts';
import {
  type Component,
  type ComponentChange,
  componentKey,
  inventoryHash,
  inventoryHashAfter,
} from '../../src/domain/inventory.ts';
import { decideRegister, decideSet, type ServiceRecord } from '../../src/domain/liveness.ts';
import type {
  ComponentService,
  EventLog,
  HostService,
  LivenessService,
  SnapshotSource,
} from '../../src/domain/services.ts';
import { createHttpServer } from '../../src/http/server.ts';

const [, , adminToken = ''] = process.argv;
const admin: Caller = { role: 'admin', subject: 'bench' };
const head = { epoch: 1, revision: 0, hash: `sha256:${'0'.repeat(64)}` };

const records = new Map<string, ServiceRecord>();

const liveness: Pick<LivenessService, 'put'> = {
  async put(_caller, uuid, patch) {
    const now = Date.now();
    const known = records.get(uuid);
    const { record } =
      known === undefined ? decideRegister(uuid, patch, 'registry') : decideSet(known, patch);
    records.set(uuid, record);
    return { created: known === undefined, service: { ...record, confirmed: true, lastSeenMs: now } };
  },
};

const inventories = new Map<string, { hash: string; components: Map<string, Component> }>();

const hosts: Pick<HostService, 'checkIn'> = {
  async checkIn(_caller, id, { base, hash, components }) {
    const known = inventories.get(id);
    if (base === null || known === undefined) {
      const all = new Map(components.map((component) => [componentKey(component), component]));
      inventories.set(id, { hash: inventoryHash(components), components: all });
      return { accepted: true, hash };
    }
    if (known.hash !== base) return { accepted: false, hash: known.hash };
    const changes = components.map((after): ComponentChange => {
      const before = known.components.get(componentKey(after)) ?? null;
      return { kind: before === null ? 'installed' : 'changed', before, after };
    });
    if (inventoryHashAfter(base, changes) !== hash) return { accepted: false, hash: known.hash };
    for (const component of components) known.components.set(componentKey(component), component);
    known.hash = hash;
    return { accepted: true, hash };
  },
};

const log: EventLog = {
  head: () => head,
  oldest: () => head,
  read: async () => [],
  hashAt: async () => null,
  subscribe: () => () => undefined,
};

const server = await createHttpServer({
  kind: 'registry',
  services: {
    access: {
      // A host's credential here is its id.
      authenticate: async (token) =>
        token === adminToken ? admin : { role: 'host', subject: 'bench-host', hostId: token },
    },
    // Only what the rows call is there: anything else fails loudly.
    liveness: liveness as LivenessService,
    hosts: hosts as HostService,
    components: {} as ComponentService,
    log,
    snapshots: {} as SnapshotSource,
    health: () => ({ ready: true, checks: {} }),
    status: async () => ({}),
    config: async () => ({ version: 1, config: {} }),
  },
  clock: systemClock,
  random: systemRandom,
  logger: createLogger({ level: 'error' }),
  version: '0.0.0',
  commit: 'bench',
});
const [tcp] = await server.listen([{ kind: 'tcp', host: '127.0.0.1', port: 0 }]);
process.stdout.write(`${JSON.stringify({ ready: 'volatile', url: tcp?.url })}\n`);
