/** Starts that must not succeed, as processes: damaged files, a data directory that somebody owns, two at once. */
import assert from 'node:assert/strict';
import {
  copyFileSync,
  existsSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext, test } from 'node:test';
import Database from 'better-sqlite3';
import { bundleProgram } from '../helpers/bundle.ts';
import {
  agentArguments,
  type ProcessOptions,
  type Reached,
  reach,
  registryArguments,
  startProcess,
} from '../helpers/process.ts';
import { conductor } from '../helpers/records.ts';
import { tempFolder } from '../helpers/temp.ts';

let program: ProcessOptions;
const ends: (() => void)[] = [];
before(async () => {
  program = await bundleProgram(tempFolder({ after: (fn) => ends.push(fn) }));
});
after(() => {
  for (const end of ends) end();
});

async function put({ http }: Reached, region: string): Promise<void> {
  const body = { type: 'web', host: 'edge-1', ttl: '1w', region };
  const { status, text } = await http({ method: 'PUT', path: `/v1/services/${conductor.uuid}`, body });
  assert(status < 300, text);
}

/** Runs it to its end: a start that is refused. */
async function refused(
  t: TestContext,
  argv: readonly string[],
): Promise<{ code: number | null; stderr: string }> {
  const running = startProcess(t, argv, program);
  const { code, signal } = await running.exited;
  assert.equal(signal, null);
  assert.equal(running.stdout(), '', 'it said that it is ready');
  return { code, stderr: running.stderr() };
}

/** What a message is for: it says what is wrong with which file and what to do, and nothing of our code. */
function assertWords(stderr: string, ...expected: (string | RegExp)[]): void {
  for (const words of expected)
    assert(
      typeof words === 'string' ? stderr.includes(words) : words.test(stderr),
      `"${words}" is not in: ${stderr}`,
    );
  assert(!/\n\s+at .*[:(]\d+/.test(stderr), `a stack in: ${stderr}`);
  assert(stderr.trim().split('\n').length <= 4, `too many words: ${stderr}`);
}

const roles = {
  registry: (dataDir: string) => registryArguments(dataDir),
  agent: (dataDir: string) => agentArguments(dataDir, { registry: null }),
} as const;

for (const role of ['registry', 'agent'] as const) {
  describe(`a damaged store of the ${role}`, () => {
    /** Damage → what is said about it. */
    const damages: Readonly<Record<string, { harm: (file: string) => void; says: RegExp }>> = {
      'cut in half': {
        harm: (file) => truncateSync(file, statSync(file).size / 2),
        says: /damaged|malformed/,
      },
      'of zero bytes': { harm: (file) => truncateSync(file, 0), says: /empty/ },
      'with garbage for a header': {
        harm: (file) => overwrite(file, 0, 'this is not a database'.repeat(10)),
        says: /not a database|damaged/,
      },
      'with a last revision that was altered': {
        harm(file) {
          const db = new Database(file);
          db.exec(
            "UPDATE revisions SET events = replace(events, 'last', 'lost') WHERE revision = (SELECT max(revision) FROM revisions)",
          );
          db.close();
        },
        says: /revision \d+ does not match its hash/,
      },
      'with a revision missing near the end': {
        harm(file) {
          const db = new Database(file);
          db.exec('DELETE FROM revisions WHERE revision = (SELECT max(revision) - 1 FROM revisions)');
          db.close();
        },
        says: /revision \d+ is missing/,
      },
      'that was lost, its WAL was not': {
        harm(file) {
          writeFileSync(`${file}-wal`, 'something', { mode: 0o600 });
          rmSync(file);
        },
        says: /missing/,
      },
    };
    // The files are the same ones, so the agent needs no more than a sample.
    const some = Object.entries(damages).filter(
      ([name]) => role === 'registry' || name.includes('last revision'),
    );
    for (const [name, { harm, says }] of some) {
      it(`${name} is refused in clear words, left as it is, and the command that they name helps`, async (t) => {
        const dataDir = tempFolder(t);
        const backup = join(tempFolder(t), 'backup.db');
        const first = startProcess(t, roles[role](dataDir), program);
        const server = reach(t, await first.ready(role));
        await put(server, 'first');
        await server.client.backup(backup);
        await put(server, 'last');
        assert.equal((await first.kill('SIGTERM')).code, 0);
        const file = join(dataDir, 'holdfast.db');
        harm(file);
        const harmed = existsSync(file) ? readFileSync(file) : undefined;

        const { code, stderr } = await refused(t, roles[role](dataDir));
        assert.notEqual(code, 0);
        assertWords(stderr, file, says, `holdfast restore`, `--data-dir ${dataDir} --force`);
        assert.deepEqual(existsSync(file) ? readFileSync(file) : undefined, harmed, 'the file was changed');

        // The advice, followed: with the backup in the place of the word BACKUP.
        const advice = /"holdfast (restore [^"]*)"/.exec(stderr)?.[1] ?? '';
        const restored = startProcess(t, advice.replace('BACKUP', backup).split(' '), program);
        assert.equal((await restored.exited).code, 0, restored.stderr());
        const second = startProcess(t, roles[role](dataDir), program);
        const again = reach(t, await second.ready(role));
        assert.equal((await again.http({ path: `/v1/services/${conductor.uuid}` })).json.region, 'first');
        assert.equal((await second.kill('SIGTERM')).code, 0);
      });
    }
  });
}

test('a store of the other role, and one of a newer program, are refused and left alone', async (t) => {
  const dataDir = tempFolder(t);
  const first = startProcess(t, roles.registry(dataDir), program);
  await first.ready('registry');
  await first.kill('SIGTERM');
  const other = await refused(t, roles.agent(dataDir));
  assert.notEqual(other.code, 0);
  assertWords(other.stderr, join(dataDir, 'holdfast.db'), 'it is the store of a registry', '--data-dir');
  const db = new Database(join(dataDir, 'holdfast.db'));
  db.exec("INSERT INTO migrations SELECT 9999, 'later', max(applied_at_ms) FROM migrations");
  db.close();
  const newer = await refused(t, roles.registry(dataDir));
  assert.notEqual(newer.code, 0);
  assertWords(newer.stderr, 'version 9999', 'newer holdfast');
});

test('files of a data directory that others may write, or that are no files, are refused', async (t) => {
  const dataDir = tempFolder(t);
  const first = startProcess(t, roles.registry(dataDir), program);
  await first.ready('registry');
  await first.kill('SIGTERM');
  copyFileSync(join(dataDir, 'admin.token'), join(dataDir, 'admin.token.old'));
  rmSync(join(dataDir, 'admin.token'));
  writeFileSync(join(dataDir, 'admin.token'), 'hf_x_y', { mode: 0o644 });
  const { code, stderr } = await refused(t, roles.registry(dataDir));
  assert.notEqual(code, 0);
  assertWords(stderr, join(dataDir, 'admin.token'));
});

test('a second process on a data directory is refused and told whose it is; the first goes on; kill -9 frees it', async (t) => {
  const dataDir = tempFolder(t);
  const first = startProcess(t, roles.registry(dataDir), program);
  const server = reach(t, await first.ready('registry'));
  await put(server, 'first');
  const { code, stderr } = await refused(t, roles.registry(dataDir));
  assert.equal(code, 4);
  assertWords(stderr, `process ${first.pid}`, dataDir, '--data-dir');
  // Nor may anybody restore over it, or start the other role there.
  const backup = join(tempFolder(t), 'backup.db');
  await server.client.backup(backup);
  const restoring = await refused(t, ['restore', backup, '--data-dir', dataDir, '--force']);
  assert.equal(restoring.code, 4);
  assertWords(restoring.stderr, `process ${first.pid}`);
  assert.equal((await refused(t, roles.agent(dataDir))).code, 4);
  await put(server, 'still here');

  await first.kill('SIGKILL');
  const next = startProcess(t, roles.registry(dataDir), program);
  const again = reach(t, await next.ready('registry'));
  assert.equal((await again.http({ path: `/v1/services/${conductor.uuid}` })).json.region, 'still here');
  assert.equal((await next.kill('SIGTERM')).code, 0);
});

test('of two that start at once on one data directory exactly one runs, twenty times', async (t) => {
  const dataDir = tempFolder(t);
  for (let race = 0; race < 20; race += 1) {
    const both = [0, 1].map(() => startProcess(t, roles.registry(dataDir), program));
    const outcomes = await Promise.all(
      both.map((one) =>
        Promise.race([
          one.ready('registry').then(
            () => 'runs' as const,
            () => 'ended' as const,
          ),
          one.exited.then(() => 'ended' as const),
        ]),
      ),
    );
    assert.deepEqual([...outcomes].sort(), ['ended', 'runs'], both.map((one) => one.stderr()).join('\n'));
    const [winner, loser] = outcomes[0] === 'runs' ? both : both.toReversed();
    assert.equal((await loser?.exited)?.code, 4);
    assertWords(loser?.stderr() ?? '', `process ${winner?.pid}`);
    // Half of the time it dies, so that the next race meets what a dead owner leaves.
    const end = await winner?.kill(race % 2 === 0 ? 'SIGKILL' : 'SIGTERM');
    assert.deepEqual(end, race % 2 === 0 ? { code: null, signal: 'SIGKILL' } : { code: 0, signal: null });
  }
});

function overwrite(file: string, at: number, text: string): void {
  const bytes = readFileSync(file);
  bytes.write(text, at);
  writeFileSync(file, bytes);
}
