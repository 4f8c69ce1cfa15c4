/** A registry and an agent with real stores behind real sockets, for whatever a stranger may send to either. */
import assert from 'node:assert/strict';
import type { Agent } from '../../src/agent/agent.ts';
import type { HttpLimits } from '../../src/http/server.ts';
import type { Registry } from '../../src/registry/registry.ts';
import { type Booted, type RegistryBoot, Stage, type TestEnd } from '../helpers/boot.ts';
import type { HttpAnswer } from '../helpers/http.ts';

export interface Target extends Booted<Registry | Agent> {
  readonly kind: 'registry' | 'agent';
  readonly port: number;
}

/** The clock stands still unless `stage.clock` is moved; only Node's own time-outs pass. */
export async function targets(
  t: TestEnd,
  options: { limits?: Partial<HttpLimits> } = {},
): Promise<{ stage: Stage; registry: Target; agent: Target; both: readonly Target[] }> {
  const stage = Stage.open(t);
  const { limits = {} } = options;
  const registry = target('registry', await stage.registry({ limits: { http: limits } }));
  const agent = target('agent', await stage.agent({ registry: null, limits }));
  return { stage, registry, agent, both: [registry, agent] };
}

/** A registry of its own, such as one that serves TLS. */
export async function registryTarget(t: TestEnd, options: RegistryBoot): Promise<Target> {
  // Certificates are judged by the clock on the wall.
  const stage = Stage.open(t, { startMs: Date.now() });
  return target('registry', await stage.registry(options));
}

function target(kind: Target['kind'], role: Booted<Registry | Agent>): Target {
  return { ...role, kind, port: Number(new URL(role.url).port) };
}

/** The head of a request as admin, to be followed by a body. */
export function head(target: Target, line: string, headers: readonly string[] = []): string {
  return [line, 'Host: 127.0.0.1', `Authorization: Bearer ${target.token}`, ...headers, '', ''].join('\r\n');
}

/** A refusal as every refusal is: a problem with this status and code, and with a field if one is given. */
export function assertRefused(answer: HttpAnswer, code: string, what: string, field?: string): void {
  assert.equal(answer.json?.code, code, `${what}: ${answer.status} ${answer.text.slice(0, 400)}`);
  assert.equal(answer.json.status, answer.status, what);
  assert.match(String(answer.headers['content-type']), /^application\/problem\+json/, what);
  if (field !== undefined) assert.equal(answer.json.field, field, what);
}

/** It still answers, and its objects are what they were. */
export async function assertUnharmed({ http, kind }: Target): Promise<void> {
  assert.equal((await http({ path: '/livez' })).status, 200, kind);
  assert.deepEqual(Object.keys(Object.prototype), []);
}

export function uuidOf(n: number): string {
  return `00000000-0000-7000-8000-${String(n).padStart(12, '0')}`;
}

/** A host of the registry, and its credential. */
export async function joinedHost(registry: Target, name: string): Promise<{ id: string; token: string }> {
  const { status, json } = await registry.http({
    method: 'POST',
    path: '/v1/join',
    body: { name, region: null, machineId: `machine of ${name}` },
  });
  assert(status === 200 || status === 201, `join: ${status} ${JSON.stringify(json)}`);
  return { id: json.id, token: json.credential };
}
