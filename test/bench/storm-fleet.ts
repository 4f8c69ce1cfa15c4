/**
 * Many hosts in one process: each with the agent's own heartbeat and a connection of its own. Under it is node:https
 * with one TLS context for all, not the agent's client: a context and a pool for each of 5,000 hosts cost this one core
 * three times what the registry's side of it does.
 *
 *     node storm-fleet.ts FILE        {"url", "ca": "PEM"|null, "hosts": [{"id", "credential"}]}
 *
 * Writes one JSON line twice a second, `{"connected", "beats", "failures", "reasons"}`, until it is ended.
 */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { createSecureContext } from 'node:tls';
import { type Heartbeat, startHeartbeat } from '../../src/agent/heartbeat.ts';
import { systemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/log.ts';
import { systemRandom } from '../../src/base/random.ts';
import { AppError } from '../../src/domain/error.ts';
import type { Mark } from '../../src/domain/event.ts';
import { beatIntervalMinMs } from '../../src/domain/host.ts';
import { beatBody, readBeatAnswer } from '../../src/wire/host.ts';
import { paths } from '../../src/wire/paths.ts';

const everyMs = 500;
const shared = { clock: systemClock, random: systemRandom, logger: silentLogger };
const file = process.argv[2];
if (file === undefined) throw new Error('Cannot start the fleet: expected the file that describes it');
const { url, ca, hosts } = JSON.parse(readFileSync(file, 'utf8')) as {
  url: string;
  ca: string | null;
  hosts: { id: string; credential: string }[];
};
const secureContext = ca === null ? undefined : createSecureContext({ ca });
const own: Mark = { epoch: 1, revision: 0, hash: `sha256:${'0'.repeat(64)}` };
let [beats, failures] = [0, 0];
/** What the failures of the last half second said. */
const reasons = new Map<string, number>();

function startHost({ id, credential }: { id: string; credential: string }): Heartbeat {
  const connection = new Agent({ keepAlive: true, maxSockets: 1, maxCachedSessions: 0 });
  let seen: Mark | null = null;
  return startHeartbeat({
    ...shared,
    hostId: id,
    machineId: `machine-${id}`,
    bootId: randomUUID(),
    hosts: {
      async beat(_caller, hostId, beat) {
        try {
          const answer = await post(connection, credential, paths.hostHeartbeat(hostId), beatBody(beat));
          beats += 1;
          return readBeatAnswer(answer as Parameters<typeof readBeatAnswer>[0]);
        } catch (error) {
          failures += 1;
          const reason = error instanceof Error ? error.message : String(error);
          reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
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

/** JSON in, JSON out; what the registry refuses is an error that says so. */
function post(agent: Agent, token: string, path: string, body: unknown): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const sent = request(`${url}${path}`, {
      method: 'POST',
      agent,
      ...(secureContext === undefined ? {} : { secureContext }),
      timeout: beatIntervalMinMs,
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    });
    sent.once('error', reject);
    sent.once('timeout', () => sent.destroy(new Error('no answer in time')));
    sent.once('response', (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
      });
      response.once('error', reject);
      response.once('end', () => {
        if (response.statusCode === 200) resolve(JSON.parse(text));
        else reject(new AppError('unavailable', `${response.statusCode} ${text.slice(0, 100)}`));
      });
    });
    sent.end(JSON.stringify(body));
  });
}

const running: Heartbeat[] = [];
for (const host of hosts) {
  // As a fleet is that was not switched on at once.
  setTimeout(() => running.push(startHost(host)), Math.random() * beatIntervalMinMs);
}
setInterval(() => {
  const connected = running.filter((beat) => beat.status().connected).length;
  process.stdout.write(
    `${JSON.stringify({ connected, beats, failures, reasons: [...reasons].slice(0, 3) })}\n`,
  );
  reasons.clear();
}, everyMs);
