import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemClock } from '../../../src/base/clock.ts';
import { isAppError } from '../../../src/domain/error.ts';
import { takeOwnership } from '../../../src/store/engine/owner.ts';
import { openStore } from '../../../src/store/engine/store.ts';
import { tempFolder } from '../../helpers/temp.ts';

/** Another process that tries to own `file`, says `own` or whom it met, and stays until it is killed. */
function contender(
  t: { after(fn: () => void): void },
  file: string,
): { child: ChildProcess; answer: Promise<string> } {
  const module = join(import.meta.dirname, '../../../src/store/engine/owner.ts');
  const script = `
    import { takeOwnership } from ${JSON.stringify(module)};
    try {
      globalThis.owner = takeOwnership({ file: ${JSON.stringify(file)}, pid: process.pid });
      process.stdout.write('own');
    } catch (error) {
      process.stdout.write(error.code + ' ' + error.details?.pid);
    }
    setInterval(() => {}, 60_000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  const answer = once(child.stdout, 'data').then(([bytes]) => String(bytes));
  return { child, answer };
}

test('takeOwnership() lets exactly one of many processes own a directory, and names it to the others', async (t) => {
  const file = join(tempFolder(t), 'owner.lock');
  const contenders = Array.from({ length: 6 }, () => contender(t, file));
  const answers = await Promise.all(contenders.map(({ answer }) => answer));
  const winner = contenders[answers.indexOf('own')];
  assert.equal(answers.filter((answer) => answer === 'own').length, 1, answers.join());
  for (const answer of answers) if (answer !== 'own') assert.equal(answer, `conflict ${winner?.child.pid}`);
});

test('takeOwnership() is free again after the owner was killed', async (t) => {
  const file = join(tempFolder(t), 'owner.lock');
  const { child, answer } = contender(t, file);
  assert.equal(await answer, 'own');
  assert.throws(
    () => takeOwnership({ file, pid: process.pid }),
    (error) =>
      isAppError(error, 'conflict') &&
      error.details['pid'] === child.pid &&
      error.message.includes(`process ${child.pid} owns`),
  );
  child.kill('SIGKILL');
  await once(child, 'exit');
  takeOwnership({ file, pid: process.pid }).release();
});

test('takeOwnership() refuses a second owner within the same process too', (t) => {
  const file = join(tempFolder(t), 'owner.lock');
  const first = takeOwnership({ file, pid: 1 });
  assert.throws(() => takeOwnership({ file, pid: 2 }), { code: 'conflict', details: { pid: 1 } });
  first.release();
  takeOwnership({ file, pid: 2 }).release();
});

test('openStore() frees the directory when it closes, and when it could not open', async (t) => {
  const dataDir = tempFolder(t);
  const options = { role: 'registry', dataDir, clock: systemClock, limits: { ballastBytes: 0 } } as const;
  const store = await openStore(options);
  await assert.rejects(openStore(options), { code: 'conflict', details: { pid: process.pid } });
  await store.close();
  await assert.rejects(openStore({ ...options, role: 'agent' }), { code: 'unprocessable' });
  await (await openStore(options)).close();
});
