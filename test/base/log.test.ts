/** The log: what its lines are like, and what the journal is told of them. */
import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createLogger, type Logger } from '../../src/base/log.ts';
import { tempFolder } from '../helpers/temp.ts';

function linesOf(t: TestContext, options: { journal: boolean }, write: (logger: Logger) => void): string[] {
  const file = join(tempFolder(t), 'log');
  const fd = openSync(file, 'w');
  write(createLogger({ level: 'debug', fd, ...options }));
  closeSync(fd);
  return readFileSync(file, 'utf8').trimEnd().split('\n');
}

function writeAll(logger: Logger): void {
  logger.debug({}, 'd');
  logger.info({}, 'i');
  logger.child({ role: 'agent' }).warn({}, 'w');
  logger.error({ err: new Error('two\nlines') }, 'e');
}

test('createLogger() tells the journal the priority of each line', (t) => {
  const lines = linesOf(t, { journal: true }, writeAll);
  assert.deepEqual(
    lines.map((line) => [line.slice(0, 3), (JSON.parse(line.slice(3)) as { msg: string }).msg]),
    [
      ['<7>', 'd'],
      ['<6>', 'i'],
      ['<4>', 'w'],
      ['<3>', 'e'],
    ],
  );
});

test('createLogger() writes one line of JSON for each message where there is no journal', (t) => {
  const lines = linesOf(t, { journal: false }, writeAll);
  const levels = lines.map((line) => (JSON.parse(line) as { level: string }).level);
  assert.deepEqual(levels, ['debug', 'info', 'warn', 'error']);
});
