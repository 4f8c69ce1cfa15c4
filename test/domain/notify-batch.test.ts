import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { formatInstant } from '../../src/base/time.ts';
import type { ChangeEvent, EventType } from '../../src/domain/event.ts';
import { type NotifyRule, readNotify } from '../../src/domain/notify.ts';
import {
  type Batch,
  type Candidate,
  decideBatch,
  isSilenced,
  messageDocument,
  messageLines,
  type SubjectState,
  stateKey,
} from '../../src/domain/notify-batch.ts';
import { titleOf } from '../../src/domain/notify-words.ts';

const startMs = Date.UTC(2026, 0, 1);

function ruleOf(more: object = {}): NotifyRule {
  const [rule] = readNotify({
    sinks: { ops: { webhook: 'https://x.example' } },
    rules: [{ name: 'r', to: 'ops', ...more }],
  }).rules;
  assert.ok(rule !== undefined);
  return rule;
}

/** Events get places in the order in which they are made. */
function history() {
  let revision = 0;
  const event = (type: EventType, afterS: number, more: Partial<ChangeEvent>): ChangeEvent => {
    revision += 1;
    const at = formatInstant(startMs + afterS * 1_000);
    return { type, position: `1.${revision}`, index: 0, at, actor: 'system', body: {}, ...more };
  };
  return {
    event,
    host: (type: EventType, name: string, afterS = 0, region: string | null = null) =>
      event(type, afterS, {
        host: name,
        body: { id: `id-${name}`, name, region, status: type === 'host.lapsed' ? 'DOWN' : 'UP' },
      }),
    record: (type: EventType, name: string, afterS = 0, more: object = {}) => {
      const status = type === 'service.lapsed' ? 'DOWN' : 'UP';
      const body = {
        uuid: `u-${name}`,
        type: name,
        host: 'edge-1',
        region: null,
        status,
        reason: null,
        ...more,
      };
      return event(type, afterS, { host: 'edge-1', service: name, body });
    },
    lost: (region: string, gone: number, afterS = 0) =>
      event('system.region-lost', afterS, { body: { region, hosts: gone, gone } }),
  };
}

function decide(rule: NotifyRule, events: readonly ChangeEvent[], more: Partial<Batch> = {}) {
  const candidates: Candidate[] = events.map((event) => ({ rule, event }));
  const decided = decideBatch({
    sink: 'ops',
    takesAlerts: false,
    labels: {},
    due: [],
    candidates,
    known: new Map(),
    regionOfHost: () => null,
    nowMs: startMs + 3_600_000,
    ...more,
  });
  return {
    ...decided,
    told: decided.messages.map(({ entries }) => entries.map(({ title }) => title)),
    known: new Map<string, SubjectState>([
      ...(more.known ?? []),
      ...decided.states.map((state) => [stateKey(state), state] as const),
    ]),
  };
}

suite('decideBatch()', () => {
  test('makes one message of a rule and group, in order, with the same id for the same stretch', () => {
    const { host } = history();
    const events = [
      host('host.lapsed', 'a', 0, 'eu'),
      host('host.lapsed', 'b', 1, 'us'),
      host('host.returned', 'a', 2, 'eu'),
    ];
    const whole = decide(ruleOf(), events);
    assert.deepEqual(whole.told, [
      ['host a is DOWN: it is silent', 'host b is DOWN: it is silent', 'host a is UP again'],
    ]);
    assert.equal(whole.messages[0]?.title, '3 changes: 2 × host.lapsed, 1 × host.returned');
    const byRegion = decide(ruleOf({ groupBy: ['region'] }), events);
    assert.deepEqual(
      byRegion.messages.map(({ group, entries }) => [group, entries.length]),
      [
        [{ region: 'eu' }, 2],
        [{ region: 'us' }, 1],
      ],
    );
    assert.equal(byRegion.messages[1]?.title, 'host b is DOWN: it is silent');
    const again = decide(ruleOf({ groupBy: ['region'] }), events, { nowMs: startMs });
    assert.deepEqual(
      again.messages.map(({ id }) => id),
      byRegion.messages.map(({ id }) => id),
    );
    assert.equal(new Set([...whole.messages, ...byRegion.messages].map(({ id }) => id)).size, 3);
  });

  test('says how many more there are, and tells a large event without its body', () => {
    const { host, event } = history();
    const many = Array.from({ length: 67 }, (_, index) => host('host.joined', `h${index}`, index));
    const [message] = decide(ruleOf(), many).messages;
    assert.ok(message !== undefined);
    assert.deepEqual([message.entries.length, message.more], [50, 17]);
    assert.equal(messageLines(message).at(-1), 'and 17 more');
    assert.equal((messageDocument(message) as { more: number }).more, 17);
    const large = event('release.published', 0, {
      body: { component: 'a', train: 's', version: '1', data: 'x'.repeat(200_000) },
    });
    const [one] = decide(ruleOf(), [large]).messages;
    assert.deepEqual([one?.title, one?.entries[0]?.event.body], ['a 1 is released on s', null]);
    const middling = Array.from({ length: 5 }, (_, index) =>
      event('release.published', 0, {
        body: { component: `c${index}`, train: 's', version: '1', data: 'x'.repeat(50_000) },
      }),
    );
    const [bounded] = decide(ruleOf(), middling).messages;
    assert.deepEqual([bounded?.entries.length, bounded?.more], [2, 3]);
  });

  test('tells the same thing within its time only once, and always what is another', () => {
    const { host } = history();
    const rule = ruleOf({ select: { types: ['host.*'] }, repeatAfter: '1h' });
    const first = decide(rule, [host('host.lapsed', 'a', 0), host('host.lapsed', 'a', 60)]);
    assert.deepEqual(first.told, [['host a is DOWN: it is silent']]);
    const second = decide(rule, [host('host.lapsed', 'a', 3_599), host('host.lapsed', 'b', 3_599)], first);
    assert.deepEqual(second.told, [['host b is DOWN: it is silent']]);
    assert.deepEqual(decide(rule, [host('host.lapsed', 'a', 3_600)], first).told, [
      ['host a is DOWN: it is silent'],
    ]);
    const other = decide(rule, [host('host.returned', 'a', 61), host('host.lapsed', 'a', 62)], first);
    assert.deepEqual(other.told, [['host a is UP again', 'host a is DOWN: it is silent']]);
  });

  test('holds what maintenance keeps silent, and tells afterwards what is still so', () => {
    const { record } = history();
    const maintenance = { start: '', end: null, note: null, active: true };
    const silent = [
      record('service.lapsed', 'api', 0, { maintenance }),
      record('service.maintained', 'api', 1, { maintenance }),
    ];
    assert.deepEqual(silent.map(isSilenced), [true, false]);
    const during = decide(ruleOf(), silent);
    assert.deepEqual(during.told, [['api on edge-1 is in maintenance']]);
    const key = stateKey({ rule: 'r', subject: 'service u-api' });
    const held = during.known.get(key)?.held;
    assert.ok(held != null);
    const after = decide(ruleOf(), [], { known: during.known, due: [{ rule: ruleOf(), event: held }] });
    assert.deepEqual(after.told, [['api on edge-1 is DOWN']]);
    assert.equal(after.known.get(key)?.held, null);
  });

  test('does not tell after maintenance that what nobody was told of is up', () => {
    const { record } = history();
    const active = { maintenance: { active: true } };
    const during = decide(ruleOf(), [
      record('service.lapsed', 'api', 0, active),
      record('service.revived', 'api', 9, active),
    ]);
    assert.deepEqual(during.told, []);
    const key = stateKey({ rule: 'r', subject: 'service u-api' });
    const due = [{ rule: ruleOf(), event: during.known.get(key)?.held as ChangeEvent }];
    const after = decide(ruleOf(), [], { known: during.known, due });
    assert.deepEqual([after.told, after.known.get(key)?.held], [[], null]);
    // Control: one that was told DOWN before its maintenance is told UP after it.
    const before = decide(ruleOf(), [record('service.lapsed', 'api', 0)]);
    assert.deepEqual(decide(ruleOf(), [], { known: before.known, due }).told, [
      ['api on edge-1 is UP again'],
    ]);
  });

  test('tells the loss of a region in place of each of its hosts', () => {
    const { host, record, lost } = history();
    const rule = ruleOf({ select: { types: ['host.lapsed', 'service.lapsed'], hosts: 'env=prod' } });
    const first = decide(
      rule,
      [
        host('host.lapsed', 'a', 0, 'eu'),
        record('service.lapsed', 'api', 0, { reason: 'host' }),
        host('host.lapsed', 'far', 0, 'us'),
        lost('eu', 12, 1),
        host('host.lapsed', 'b', 2, 'eu'),
      ],
      { regionOfHost: (name) => (name === 'edge-1' ? 'eu' : null) },
    );
    assert.deepEqual(first.told, [
      ['host far is DOWN: it is silent', 'region eu is lost: 12 of 12 hosts are silent'],
    ]);
    // Also those that come soon after; later ones are news.
    const later = [host('host.lapsed', 'c', 300, 'eu'), host('host.lapsed', 'd', 700, 'eu')];
    assert.deepEqual(decide(rule, later, first).told, [['host d is DOWN: it is silent']]);
    // Nothing of it concerns this rule.
    assert.deepEqual(decide(rule, [lost('eu', 12)]).told, []);
    assert.deepEqual(decide(ruleOf(), [lost('eu', 12)]).told, [
      ['region eu is lost: 12 of 12 hosts are silent'],
    ]);
  });

  test('fires an alert for what is down and ends the same one when it is up, gone, or its region is back', () => {
    const { host, record, lost, event } = history();
    const rule = ruleOf();
    const alerts = { takesAlerts: true, labels: { team: 'ops' } };
    const first = decide(
      rule,
      [host('host.lapsed', 'a', 0, 'eu'), record('service.lapsed', 'api', 1)],
      alerts,
    );
    const fired = first.messages[0]?.entries.map(({ alert }) => alert);
    assert.deepEqual(
      fired?.map((alert) => [alert?.labels, alert?.startsAtMs, alert?.endsAtMs]),
      [
        [{ team: 'ops', alertname: 'HoldfastHostDown', rule: 'r', host: 'a', region: 'eu' }, startMs, null],
        [
          { team: 'ops', alertname: 'HoldfastServiceDown', rule: 'r', host: 'edge-1', service: 'api' },
          startMs + 1_000,
          null,
        ],
      ],
    );
    const ends = decide(rule, [host('host.returned', 'a', 60, 'eu'), record('service.deleted', 'api', 61)], {
      ...alerts,
      known: first.known,
    });
    assert.deepEqual(
      ends.messages[0]?.entries.map(({ alert }) => [
        alert?.labels['alertname'],
        alert?.startsAtMs,
        alert?.endsAtMs,
      ]),
      [
        ['HoldfastHostDown', startMs, startMs + 60_000],
        ['HoldfastServiceDown', startMs + 1_000, startMs + 61_000],
      ],
    );
    assert.ok([...ends.known.values()].every(({ alert }) => alert === null));
    const region = decide(rule, [lost('eu', 3, 0)], alerts);
    const back = decide(rule, [host('host.returned', 'b', 9, 'eu')], { ...alerts, known: region.known });
    assert.deepEqual(
      back.messages[0]?.entries.flatMap(({ alert }) =>
        alert === null ? [] : [[alert.labels['alertname'], alert.endsAtMs]],
      ),
      [['HoldfastRegionLost', startMs + 9_000]],
    );
    const change = decide(
      rule,
      [event('host.labelled', 5, { host: 'a', body: { id: 'id-a', labels: {} } })],
      alerts,
    );
    assert.equal(change.messages[0]?.entries[0]?.alert?.endsAtMs, startMs + 305_000);
  });
});

test('titleOf() is one printable line, whatever an event holds', () => {
  const { event, host } = history();
  assert.equal(titleOf(host('host.lapsed', 'a\nb\u0007\u202e')), 'host a b is DOWN: it is silent');
  assert.equal(
    titleOf(event('component.changed', 0, { host: 'a', body: null })),
    'unknown on a is unknown, was unknown',
  );
  assert.ok([...titleOf(host('host.joined', 'x'.repeat(1_000)))].length <= 300);
});
