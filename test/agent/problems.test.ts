import assert from 'node:assert/strict';
import { statSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { problemsFile, RecentProblems, readProblems } from '../../src/agent/problems.ts';
import { limits } from '../../src/base/limits.ts';
import { silentLogger } from '../../src/base/log.ts';
import { AppError } from '../../src/domain/error.ts';
import { FakeClock } from '../helpers/clock.ts';
import { tempFolder } from '../helpers/temp.ts';

test('RecentProblems keeps warnings and errors, masked and without stacks, and counts the same one', async () => {
  const clock = new FakeClock({ startMs: 0 });
  const problems = new RecentProblems(clock);
  const logger = problems.listening(silentLogger).child({ role: 'agent' });
  logger.info({}, 'not this');
  logger.debug({}, 'nor this');
  const err = new AppError('unavailable', 'Cannot reach https://ann:pw1234@r');
  logger.warn({ err, token: 'abc' }, 'no answer');
  await clock.advance(1_000);
  logger.warn({ err, token: 'abc' }, 'no answer');
  logger.error({ err: new Error('broken') }, 'failed');
  assert.deepEqual(problems.list(), [
    {
      at: '1970-01-01T00:00:01.000Z',
      level: 'warn',
      message: 'no answer',
      detail: '{"err":"Cannot reach https://(masked)@r (unavailable)","token":"(masked)"}',
      count: 2,
    },
    {
      at: '1970-01-01T00:00:01.000Z',
      level: 'error',
      message: 'failed',
      detail: '{"err":"broken"}',
      count: 1,
    },
  ]);
});

test('RecentProblems counts what fails over and over, in turn with others, whichever try it was', () => {
  const problems = new RecentProblems(new FakeClock());
  const logger = problems.listening(silentLogger);
  for (let failures = 1; failures <= 200; failures += 1)
    for (const loop of ['a', 'b']) logger.warn({ loop, failures, retryMs: failures * 7 }, 'loop failed');
  logger.warn({}, 'else');
  assert.deepEqual(
    problems.list().map(({ detail, count }) => [detail, count]),
    [
      ['{"loop":"a"}', 200],
      ['{"loop":"b"}', 200],
      ['{}', 1],
    ],
  );
});

test('RecentProblems is bounded in number and in size', () => {
  const problems = new RecentProblems(new FakeClock());
  const logger = problems.listening(silentLogger);
  for (let i = 0; i <= limits.recentProblemsMax; i += 1) logger.warn({ i, text: 'x'.repeat(9_999) }, 'much');
  const kept = problems.list();
  assert.equal(kept.length, limits.recentProblemsMax);
  assert.match(kept[0]?.detail ?? '', /^\{"i":1,/);
  assert(kept.every(({ detail }) => detail.length <= limits.problemDetailMax));
});

test('RecentProblems.write() leaves them for the next start, privately; what is no list is none', async (t) => {
  const folder = tempFolder(t);
  const problems = new RecentProblems(new FakeClock());
  await problems.write(folder);
  assert.deepEqual(await readProblems(folder), []);
  assert.throws(() => statSync(problemsFile(folder)), { code: 'ENOENT' });
  problems.listening(silentLogger).error({}, 'failed');
  await problems.write(folder);
  assert.equal(statSync(problemsFile(folder)).mode & 0o777, 0o600);
  const read = await readProblems(folder);
  assert.deepEqual(read, problems.list());
  assert.deepEqual(new RecentProblems(new FakeClock(), read).list(), read);
  writeFileSync(problemsFile(folder), '[1,{"at":1}]');
  assert.deepEqual(await readProblems(folder), []);
  writeFileSync(problemsFile(folder), '{');
  assert.deepEqual(await readProblems(folder), []);
});
