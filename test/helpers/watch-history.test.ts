/** Each validator finds what it is there for: a history without fault is spoilt in one way, and one of them must say so. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ChangeEvent } from '../../src/domain/event.ts';
import type { WatchMessage } from '../../src/wire/watch.ts';
import { type History, type Log, validators, violations } from './watch-history.ts';

const at = (revision: number) => `7.${revision}`;

function event(revision: number, index = 0, host = 'a'): ChangeEvent {
  const body = { uuid: `uuid-${host}`, type: 'web', host, region: null, status: 'UP', version: revision };
  return {
    position: at(revision),
    index,
    type: 'service.set',
    at: '',
    actor: '',
    host,
    service: 'web',
    body,
  };
}

/** Revision 3 has two events; 4 concerns another host. */
const log: Log = [1, 2, 3, 4, 5, 6].map((revision) => ({
  revision,
  events: revision === 3 ? [event(3), event(3, 1)] : [event(revision, 0, revision === 4 ? 'b' : 'a')],
}));

const events = (position: number, ...list: ChangeEvent[]): WatchMessage => ({
  kind: 'events',
  position: at(position),
  events: list,
});
const sound: History = {
  name: 'sound',
  select: { hosts: '@name=a' },
  connections: [
    {
      since: null,
      snapshot: true,
      messages: [
        { kind: 'snapshot', position: at(1), items: [{ kind: 'service', body: event(1).body }], done: true },
        events(2, event(2)),
      ],
    },
    {
      since: at(2),
      snapshot: false,
      messages: [
        events(4, event(3), event(3, 1)),
        { kind: 'progress', position: at(4) },
        events(6, event(5), event(6)),
      ],
    },
  ],
};

/** `sound` with the messages of its second connection replaced. */
const spoilt = (...messages: WatchMessage[]): History => ({
  ...sound,
  connections: [...sound.connections.slice(0, 1), { since: at(2), snapshot: false, messages }],
});

const faults: Readonly<Record<string, History>> = {
  ordered: spoilt(events(6, event(3), event(3, 1), event(6), event(5))),
  unique: spoilt(events(4, event(2), event(3), event(3, 1))),
  reliable: spoilt(events(6, event(3), event(3, 1), event(6))),
  atomic: spoilt(events(3, event(3)), events(4, event(3, 1))),
  resumable: spoilt(events(6, event(5), event(6))),
  bookmarkable: spoilt(events(5, event(3), event(3, 1)), events(6, event(5), event(6))),
  filter: spoilt(events(4, event(3), event(3, 1), event(4, 0, 'b'))),
  snapshot: {
    ...sound,
    connections: [
      {
        since: null,
        snapshot: true,
        messages: [
          {
            kind: 'snapshot',
            position: at(2),
            items: [{ kind: 'service', body: event(1).body }],
            done: true,
          },
        ],
      },
    ],
  },
};

test('the validators find nothing wrong with a history that is sound', () => {
  assert.deepEqual(violations([sound], log), []);
});

for (const [name, history] of Object.entries(faults)) {
  test(`validators.${name}() finds its fault`, () => {
    assert.notDeepEqual(validators[name]?.(history, log), []);
  });
}

test('every validator has a fault to find', () => {
  assert.deepEqual(Object.keys(faults).sort(), Object.keys(validators).sort());
});
