/**
 * Many hosts in one process: each with the agent's own heartbeat and client, and a connection of its own.
 *
 *     node storm-fleet.ts FILE        {"url", "ca": "PEM"|null, "hosts": [{"id", "credential"}]}
 *
 * Writes one JSON line twice a second, `{"connected", "beats", "failures"}`, until it is ended.
 */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type Heartbeat, startHeartbeat } from '../../src/agent/heartbeat.ts';
import { systemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/log.ts';
import { systemRandom } from '../../src/base/random.ts';
import { createClient } from '../../src/client/client.ts';
import type { Mark } from '../../src/domain/event.ts';

const everyMs = 500;
const shared = { clock: systemClock, random: systemRandom, logger: silentLogger };
const file = process.argv[2];
if (file === undefined) throw new Error('Cannot start the fleet: expected the file that describes it');
const { url, ca, hosts } = JSON.parse(readFileSync(file, 'utf8')) as {
  url: string;
  ca: string | null;
  hosts: { id: string; credential: string }[];
};
const own: Mark = { epoch: 1, revision: 0, hash: `sha256:${'0'.repeat(64)}` };
let [beats, failures] = [0, 0];

function startHost({ id, credential }: { id: string; credential: string }): Heartbeat {
  const client = createClient({
    ...shared,
    target: { url },
    token: credential,
    attemptsMax: 1,
    ...(ca === null ? {} : { tls: { ca: [ca] } }),
  });
  let seen: Mark | null = null;
  return startHeartbeat({
    ...shared,
    hostId: id,
    machineId: `machine-${id}`,
    bootId: randomUUID(),
    hosts: {
      async beat(caller, hostId, beat) {
        try {
          const answer = await client.hosts.beat(caller, hostId, beat);
          beats += 1;
          return answer;
        } catch (error) {
          failures += 1;
          throw error;
        }
      },
    },
    compose: () => ({
      beat: { own, seen, inventory: null },
      outbox: { active: false, epoch: 1, ackedSeq: 0 },
      inventoryAcked: true,
    }),
    onAnswer: async (_sent, answer) => {
      seen = answer.own;
    },
  });
}

const running = hosts.map(startHost);
setInterval(() => {
  const connected = running.filter((beat) => beat.status().connected).length;
  process.stdout.write(`${JSON.stringify({ connected, beats, failures })}\n`);
}, everyMs);
