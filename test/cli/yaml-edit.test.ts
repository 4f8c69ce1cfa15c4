import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from 'yaml';
import { ConfigurationError } from '../../src/cli/exit.ts';
import { editYaml, valueIn, type YamlEdit } from '../../src/cli/yaml-edit.ts';

const edit = (text: string, ...edits: YamlEdit[]) =>
  editYaml(text, edits, { file: 'agent.yaml', heading: 'Ours.' });

test('editYaml() appends keys that are new below what is there', async () => {
  const text = '# how it is called\n#host: {name: a}\n';
  assert.equal(
    await edit(
      text,
      { path: ['host', 'region'], value: 'eu-west' },
      { path: ['allow', 'drivers'], value: ['archive', 'exec'] },
      { path: ['allow', 'handlers'], value: ['http'] },
    ),
    `${text}\n# Ours.\nhost:\n  region: eu-west\nallow:\n  drivers: [archive, exec]\n  handlers: [http]\n`,
  );
  assert.equal(await edit('', { path: ['registry'], value: 'none' }), '\n# Ours.\nregistry: none\n');
});

test('editYaml() changes a key where it stands, and keeps comments and order', async () => {
  const text = `# first
listen: 127.0.0.1:1 # here
host:
  # whose
  name: edge-1
allow: {drivers: [archive], users: [shop]} # the host's say
`;
  assert.equal(
    await edit(
      text,
      { path: ['host', 'region'], value: 'eu' },
      { path: ['allow', 'drivers'], value: ['archive', 'exec'] },
    ),
    text
      .replace('  name: edge-1\n', '  name: edge-1\n  region: eu\n')
      .replace('drivers: [archive]', 'drivers: [archive, exec]'),
  );
});

test('editYaml() leaves a text that says all that as it is, however it is written', async () => {
  const text = '\n\nallow:   { drivers:   ["exec"] }   \n# end';
  assert.equal(await edit(text, { path: ['allow', 'drivers'], value: ['exec'] }), text);
  assert.equal(await edit(text), text);
});

test('editYaml() refuses what is no map of keys', async () => {
  for (const text of ['- a\n', 'word', 'a: [']) {
    await assert.rejects(edit(text, { path: ['a'], value: 1 }), ConfigurationError);
  }
});

test('valueIn() finds nothing below what is no map', () => {
  assert.equal(valueIn({ a: { b: 1 } }, ['a', 'b']), 1);
  assert.equal(valueIn({ a: null }, ['a', 'b']), undefined);
  assert.equal(valueIn({}, ['a', 'b']), undefined);
});

test('editYaml() keeps the comments beside what it changes', async () => {
  assert.equal(
    await edit(
      'listen: 127.0.0.1:1 # for the probe\nallow:\n  # as agreed\n  drivers:\n    - archive # always\n',
      { path: ['listen'], value: '127.0.0.1:2' },
      { path: ['allow', 'drivers'], value: ['archive', 'exec'] },
    ),
    'listen: 127.0.0.1:2 # for the probe\nallow:\n  # as agreed\n  drivers:\n    - archive # always\n    - exec\n',
  );
});

test('editYaml() adds to a map in braces, and before the end of a document', async () => {
  const drivers = { path: ['allow', 'drivers'], value: ['exec'] };
  for (const text of ['{listen: a}\n', '---\nlisten: a\n...\n'])
    assert.deepEqual(parse(await edit(text, drivers)), { listen: 'a', allow: { drivers: ['exec'] } });
});
