import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { RunnerClient } from '../../src/client/runner.ts';
import { tempFolder } from '../helpers/temp.ts';
import { until } from '../helpers/until.ts';
import { startMortal } from './mortals.ts';
import { processesWith, uniqueWord } from './processes.ts';
import { startRunner } from './world.ts';

const never = new AbortController().signal;

test('E14: a step has nothing of the runner’s environment, and no secret is in the arguments of either', async (t) => {
  const word = uniqueWord();
  const checks = [
    { type: 'env', exec: ['sh', '-c', 'cat /proc/self/environ | tr "\\0" "\\n"; sleep 0.5', word] },
  ];
  const { client, pid } = await startMortal(t, join(tempFolder(t), 'runner'), { checks });
  assert.match(readFileSync(`/proc/${pid}/environ`, 'utf8'), /hf_secret-of-the-runner/, 'the runner has one');
  const asked = client.run({ kind: 'check', check: 'env' }, { signal: never });
  const [step] = await until(() => {
    const found = processesWith(word);
    return found.length > 0 ? found : undefined;
  });
  for (const file of ['environ', 'cmdline'])
    assert.doesNotMatch(readFileSync(`/proc/${step}/${file}`, 'utf8'), /hf_/, file);
  assert.doesNotMatch(readFileSync(`/proc/${pid}/cmdline`, 'utf8'), /hf_/);
  const names = (await asked).stdout
    .trim()
    .split('\n')
    .map((line) => line.split('=')[0]);
  assert.deepEqual(names.sort(), ['HOLDFAST_STEP', 'LANG', 'PATH', 'PWD']);
});

test('E14: a step inherits no open file: not the runner’s own, not what the runner was started with', async (t) => {
  const folder = tempFolder(t);
  const config = join(folder, 'agent.yaml');
  // The listing itself opens one, of the folder that it lists.
  const list = 'for fd in /proc/self/fd/*; do readlink "$fd" || true; done';
  writeFileSync(config, `checks: [{type: fds, exec: [sh, -c, '${list}']}]\n`);
  const dataDir = join(folder, 'runner');
  const main = join(import.meta.dirname, '../../src/main.ts');
  const secret = openSync('/etc/passwd', 'r');
  const child = spawn(process.execPath, [main, 'runner', '--data-dir', dataDir, '--config', config], {
    stdio: ['ignore', 'pipe', 'ignore', secret],
  });
  t.after(() => child.kill('SIGKILL'));
  await new Promise((resolve) => child.stdout?.once('data', resolve));
  const client = new RunnerClient({ socket: join(dataDir, 'run/runner.sock') });
  t.after(() => client.close());
  const { stdout } = await client.run({ kind: 'check', check: 'fds' }, { signal: never });
  const [input, output, errors, ...others] = stdout.trim().split('\n');
  assert.equal(input, '/dev/null');
  for (const stream of [output, errors]) assert.match(stream ?? '', /^(socket|pipe):\[\d+\]$/);
  assert.deepEqual(others, []);
});

/** What means something to some shell, to printf, to a terminal, or to whoever builds command lines from texts. */
const metacharacters = [
  '; touch pwned',
  '$(touch pwned)',
  '`touch pwned`',
  '| cat /etc/passwd',
  '&& id',
  '> /tmp/x',
  '$HOME $$ $0',
  `\${PATH}`,
  '* ? [a-z] {a,b} ~',
  '"double" \'single\' \\back\\slash',
  'line\nbreak\ttab\r',
  '-rf --help -c',
  '%s %n %d',
  '\u001b[31m\u0007',
  'é € 😀 \u202e',
  '',
  ' ',
  '#comment',
  '!history',
  '../../etc/passwd',
  '=',
];

test('E15: arguments arrive as they are written, whatever they would mean to a shell', async (t) => {
  const script = 'process.stdout.write(JSON.stringify(process.argv.slice(1)))';
  const world = await startRunner(t, {
    checks: [{ type: 'args', exec: ['sh', '-c', 'exit 1'] }],
  });
  const [check] = world.duties.checks;
  assert(check !== undefined);
  const probe = {
    kind: 'exec',
    command: [process.execPath, '-e', script, '--', ...metacharacters],
    user: null,
  } as const;
  world.duties = { ...world.duties, checks: [{ ...check, timeoutMs: 10_000, probe }] };
  assert.deepEqual(JSON.parse((await world.check('args')).stdout), metacharacters);
});

test('E15: a program is found in PATH or by its path, and never in the folder of the runner', async (t) => {
  const world = await startRunner(t, {
    checks: [
      { type: 'where', exec: ['pwd'] },
      { type: 'odd', exec: ['sh; true'] },
    ],
  });
  assert.equal((await world.check('where')).stdout, '/\n');
  await assert.rejects(world.check('odd'), /there is no such program/);
});

test('a step runs as another user where that is named, and as none of those that nothing foreign runs as', {
  skip: process.getuid?.() !== 0 && 'only root starts processes of others',
}, async (t) => {
  const world = await startRunner(t, {
    checks: [{ type: 'nobody', exec: ['sh', '-c', 'id -un; id -G'], user: 'nobody' }],
  });
  assert.equal((await world.check('nobody')).stdout, 'nobody\n65534\n');
  const [check] = world.duties.checks;
  assert(check?.probe.kind === 'exec');
  for (const [user, words] of [
    ['root', /nothing foreign runs/],
    ['holdfast-agent', /nothing foreign runs/],
    ['0', /nothing foreign runs/],
    ['no-such-user', /etc\/passwd has no such user/],
  ] as const) {
    world.duties = { ...world.duties, checks: [{ ...check, probe: { ...check.probe, user } }] };
    await assert.rejects(world.check('nobody'), words);
  }
});
