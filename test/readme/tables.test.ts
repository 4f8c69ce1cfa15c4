import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { it } from 'node:test';
import { packageDependencies, readmeFile, tables, withTables } from './tables.ts';

it('README.md has the tables as the code has them (node test/readme/tables.ts writes them)', () => {
  const readme = readFileSync(readmeFile, 'utf8');
  assert.equal(withTables(readme), readme);
});

it('README.md says of every dependency why it is there', () => {
  for (const line of tables().dependencies.split('\n').slice(2)) assert.doesNotMatch(line, /\| \|$/, line);
  assert(Object.keys(packageDependencies()).length > 0);
});

it('README.md names its two commands as they are tested', () => {
  const readme = readFileSync(readmeFile, 'utf8');
  for (const command of ['npm ci && npm start', 'npm ci && npm test'])
    assert(readme.includes(command), command);
});
