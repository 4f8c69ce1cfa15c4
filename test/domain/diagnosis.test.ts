import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findingsOf, type HostReport, isHostReport } from '../../src/domain/diagnosis.ts';

const well: Omit<HostReport, 'findings'> = {
  format: 1,
  at: '2026-01-01T00:00:00.000Z',
  host: 'edge-1',
  gatheredFrom: 'agent',
  versions: {},
  registry: { url: 'https://r', joined: true, connected: true, problem: null, clockAheadMs: 20 },
  target: { tag: '1.1.1', refused: null },
  checks: [{ type: 'web', state: 'passing' }],
  detectors: [{ name: 'dpkg', state: 'ok' }],
  runner: { connected: true, problem: null },
  outbox: { pending: 0, dropped: 0 },
  store: { state: 'ok' },
  problems: [],
  resources: { dataDir: { diskFreeBytes: 2 ** 40 } },
  configuration: {},
  components: [],
  unseen: [],
};

test('findingsOf() says nothing of a host that is well', () => {
  assert.deepEqual(findingsOf(well), []);
});

test('findingsOf() says what is wrong, and why, what to mend first', () => {
  const ill = {
    ...well,
    gatheredFrom: 'files' as const,
    store: { state: 'storage-full', detail: 'the disk is full' },
    registry: { joined: false, connected: false, problem: 'no token', clockAheadMs: -9_000 },
    target: { tag: '1.1.1', refused: { problem: 'signature', detail: 'nobody knows its key' } },
    runner: { connected: false, problem: null },
    detectors: [{ name: 'dpkg', state: 'failed', error: 'no such file' }],
    checks: [{ type: 'web', state: 'failing', detail: 'exit code 1' }],
    outbox: { pending: 5_000, dropped: 2 },
    resources: { dataDir: { diskFreeBytes: 1_048_576 } },
  };
  assert.deepEqual(findingsOf(ill), [
    'the agent does not run',
    'the database is storage-full: the disk is full',
    'the disk of the data directory has 1 MiB left',
    'this host has not joined its registry: no token',
    "this machine's clock is 9 s behind the registry's",
    'the latest target is not held: nobody knows its key',
    'the runner cannot be asked',
    'detector dpkg fails: no such file',
    'check web is failing: exit code 1',
    '5000 reports wait to be sent',
    '2 reports were dropped',
  ]);
});

test('isHostReport() takes ours, and nothing that would break who shows it', () => {
  const report = { ...well, findings: [] };
  assert(isHostReport(report));
  assert(isHostReport(JSON.parse(JSON.stringify({ ...report, later: 1 }))));
  for (const wrong of [
    null,
    [],
    'x',
    { ...report, format: 2 },
    { ...report, checks: {} },
    { ...report, checks: [1] },
    { ...report, findings: [{}] },
    { ...report, resources: null },
    { ...report, registry: 'x' },
    { ...report, host: 7 },
  ])
    assert(!isHostReport(wrong), JSON.stringify(wrong));
});
