import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allowDefault } from '../../src/domain/allow.ts';
import { readChecks } from '../../src/domain/check.ts';
import { readDetectors } from '../../src/domain/detector.ts';
import { isAppError } from '../../src/domain/error.ts';
import { type Duties, decideDuty, deedDigest, type Step, stepName } from '../../src/domain/step.ts';

const target = { body: '', signature: '' };
const duties: Duties = {
  checks: readChecks([
    { type: 'web', http: 'http://127.0.0.1/' },
    { type: 'db', exec: ['pg_isready'], user: 'postgres', every: '1m', timeout: '3s' },
    { type: 'ssh', process: 'sshd' },
    { type: 'cron', systemd: 'cron.service' },
  ]),
  detectors: readDetectors([
    'dpkg',
    'rpm',
    { command: ['nginx', '-v'], match: '(?<version>.*)', component: 'nginx' },
    { systemd: 'api.service', match: '(?<version>.*)', component: 'api' },
  ]),
  allow: allowDefault,
};

test('stepName() is a name for files and units, the same for the same step and for no other', () => {
  const steps: readonly Step[] = [
    { kind: 'check', check: 'shop/api' },
    { kind: 'check', check: 'shop-api' },
    { kind: 'check', check: 'SHOP/API' },
    { kind: 'check', check: 'a'.repeat(128) },
    { kind: 'check', check: `${'a'.repeat(127)}b` },
    { kind: 'check', check: '../../etc/passwd' },
    { kind: 'check', check: '€ 😀' },
    { kind: 'check', check: '__proto__' },
    { kind: 'detector', component: 'shop/api' },
    { kind: 'unit', component: 'shop/api' },
    { kind: 'rpm' },
    { kind: 'placement', target, service: 'shop/api', command: 'apply' },
    { kind: 'placement', target, service: 'shop/api', command: 'info' },
  ];
  const names = steps.map(stepName);
  for (const name of names) assert.match(name, /^[a-z0-9-]{1,64}$/);
  assert.equal(new Set(names).size, steps.length);
  const [first] = steps;
  assert(first !== undefined);
  assert.equal(stepName({ ...first }), names[0]);
  const placed = { kind: 'placement', service: 'shop/api', command: 'apply' } as const;
  assert.equal(
    stepName({ ...placed, target }),
    stepName({ ...placed, target: { body: 'another', signature: 'one' } }),
    'the next target of a placement does not run beside the one before',
  );
});

test('decideDuty() takes commands from what local root has written down, and from nowhere else', () => {
  assert.deepEqual(decideDuty({ kind: 'check', check: 'db' }, duties), {
    kind: 'command',
    command: ['pg_isready'],
    user: 'postgres',
    timeoutMs: 3_000,
  });
  assert.deepEqual(decideDuty({ kind: 'check', check: 'ssh' }, duties), {
    kind: 'process',
    name: 'sshd',
    timeoutMs: 5_000,
  });
  assert.equal(decideDuty({ kind: 'check', check: 'cron' }, duties).kind, 'systemd');
  assert.equal(decideDuty({ kind: 'detector', component: 'nginx' }, duties).kind, 'command');
  assert.deepEqual(decideDuty({ kind: 'unit', component: 'api' }, duties), {
    kind: 'unit',
    unit: 'api.service',
    property: 'ExecStart',
    timeoutMs: 10_000,
  });
  const rpm = decideDuty({ kind: 'rpm' }, duties);
  assert(rpm.kind === 'command' && rpm.command[0] === 'rpm' && rpm.user === null);
  assert.throws(() => decideDuty({ kind: 'rpm' }, { ...duties, detectors: readDetectors(['dpkg']) }));
  for (const step of [
    { kind: 'detector', component: 'api' },
    { kind: 'unit', component: 'nginx' },
    { kind: 'check', check: 'nginx' },
    { kind: 'detector', component: 'dpkg' },
    { kind: 'detector', component: 'db' },
  ] as const)
    assert.throws(
      () => decideDuty(step, duties),
      (error) => isAppError(error, 'not-found'),
    );
  assert.throws(
    () => decideDuty({ kind: 'check', check: 'web' }, duties),
    (error) => isAppError(error, 'unprocessable') && /the agent does itself/.test(error.message),
  );
});

test('decideDuty() runs a command as each user that agent.yaml may name', () => {
  for (const user of ['web', 'first.last', 'A-1', 'u'.repeat(32)]) {
    const checks = readChecks([{ type: 'a', exec: ['true'], user }]);
    const deed = decideDuty({ kind: 'check', check: 'a' }, { ...duties, checks });
    assert(deed.kind === 'command' && deed.user === user);
  }
});

test('deedDigest() tells two commands apart whose words run together', () => {
  const deed = (command: readonly string[]) =>
    deedDigest({ kind: 'command', command, user: null, timeoutMs: 1 });
  assert.notEqual(deed(['a b']), deed(['a', 'b']));
  assert.equal(deed(['a', 'b']), deed(['a', 'b']));
});
