/** What systemd is asked for, and what it answers; the units themselves are tested under systemd (test/systemd). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Launch } from '../../src/runner/launcher.ts';
import {
  isPlainPath,
  readUnitEnd,
  readUnitName,
  startFailure,
  stepEndOf,
  unitArguments,
  unitName,
} from '../../src/runner/unit-words.ts';

const order: Launch = {
  name: 'check-web-1',
  command: ['/opt/look', '--name=$HOME', '%n', '', '--'],
  user: null,
  env: { PATH: '/bin', PRICE: '$5 %h' },
  timeoutMs: 2_500,
  limits: { memoryBytes: 1_048_576, tasks: 8, cpuPercent: 50 },
};
const identity = { owner: '0a1b', name: order.name, startedAtMs: 1_767_225_600_000, timeoutMs: 2_500 };
const unit = 'holdfast-step-check-web-1.1767225600000.2500.0a1b.service';

test('unitName() says of a run what a runner must know that finds it', () => {
  assert.equal(unitName(identity), unit);
  assert.deepEqual(readUnitName(unit), identity);
  for (const other of [
    'holdfast-agent.service',
    'holdfast-step-x.service',
    'holdfast-step-x.1.2.service',
    'holdfast-step-X.1.2.a.service',
    'holdfast-step-x.1.2.A.service',
    'holdfast-step-x.1.2.a.service.d',
    'holdfast-step-../x.1.2.a.service',
    `holdfast-step-${'x'.repeat(65)}.1.2.a.service`,
  ])
    assert.equal(readUnitName(other), undefined, other);
});

test('unitArguments() puts the command after the options, each word as it is', () => {
  const argv = unitArguments(order, { unit, endFile: '/run/ended/one' });
  const end = argv.indexOf('--');
  assert.deepEqual(argv.slice(end), [
    ...['--', '/usr/bin/env', '-i', '--', 'PATH=/bin', 'PRICE=$$5 %h'],
    ...['/opt/look', '--name=$$HOME', '%n', '', '--'],
  ]);
  const options = argv.slice(0, end);
  assert(
    options.includes(`--unit=${unit}`) && options.every((word) => word.startsWith('--')),
    options.join(' '),
  );
  const properties = options.flatMap((word) => /^--property=(.*)$/.exec(word)?.[1] ?? []);
  for (const property of [
    ...['RuntimeMaxSec=2500ms', 'MemoryMax=1048576', 'TasksMax=8', 'CPUQuota=50%', 'DynamicUser=yes'],
    ...['ProtectSystem=strict', 'CapabilityBoundingSet=', 'NoNewPrivileges=yes', 'KillMode=control-group'],
  ])
    assert(properties.includes(property), property);
  const { length } = properties.filter((property) => /^(User|DynamicUser)=/.test(property));
  assert.equal(length, 1);
  assert(unitArguments({ ...order, user: 'web' }, { unit, endFile: '/x' }).includes('--property=User=web'));
});

test('unitArguments() writes what tells of the end so that systemd reads it back as it was', () => {
  const told = unitArguments(order, { unit, endFile: '/run/ended/one' }).filter((word) =>
    word.includes('ExecStopPost'),
  );
  assert.equal(told.length, 1);
  // systemd 252 escapes these when it writes a transient unit, and does not know them again.
  assert.doesNotMatch(told[0] ?? '', /[$%;\\"]|=\+/);
  assert.throws(() => unitArguments(order, { unit, endFile: "/run/it's/one" }), /would need quotes/);
  assert(isPlainPath('/run/holdfast/runner/ended') && !isPlainPath('/run/a b') && !isPlainPath('run'));
});

test('stepEndOf() tells apart how a unit ended', () => {
  const ends = (text: string, durationMs = 100) => {
    const end = readUnitEnd(text, identity.startedAtMs + durationMs);
    assert(end !== undefined, text);
    return stepEndOf(end, identity);
  };
  assert.deepEqual(ends('success\nexited\n0\n'), { kind: 'exited', exitCode: 0 });
  assert.deepEqual(ends('exit-code\nexited\n203\n'), { kind: 'exited', exitCode: 203 });
  assert.deepEqual(ends('signal\nkilled\nTERM\n'), { kind: 'signalled', signal: 'SIGTERM' });
  assert.deepEqual(ends('core-dump\ndumped\nSEGV\n'), { kind: 'signalled', signal: 'SIGSEGV' });
  assert.deepEqual(ends('signal\nkilled\nRTMIN+1\n'), { kind: 'signalled', signal: 'SIGRTMIN+1' });
  assert.deepEqual(ends('oom-kill\nkilled\nKILL\n'), { kind: 'out-of-memory' });
  assert.deepEqual(ends('timeout\nkilled\nTERM\n', 2_500), { kind: 'timed-out' });
  assert.deepEqual(ends('timeout\nexited\n0\n', 2_600), { kind: 'timed-out' });
  // It ended in time, and what it left behind did not.
  assert.deepEqual(ends('timeout\nexited\n4\n', 2_000), { kind: 'exited', exitCode: 4 });
  assert.equal(ends('resources\n').kind, 'lost');
});

test('readUnitEnd() takes nothing that is not whole', () => {
  for (const text of ['', 'success', 'success\nexited\n', 'success\nexited\n0', 'Success\n', 'a\nb\nC\nD\n'])
    assert.equal(readUnitEnd(text, 0), undefined, JSON.stringify(text));
});

test('startFailure() says what is missing', () => {
  assert.match(startFailure({ status: '217' }), /user/);
  assert.match(startFailure({ status: '226' }), /mount namespaces/);
  assert.match(startFailure({ status: '240' }), /status 240/);
});
