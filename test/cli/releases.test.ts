/** `holdfast releases` against a real registry. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { eventLine } from '../../src/cli/watch.ts';
import type { ChangeEvent } from '../../src/domain/event.ts';
import { Stage } from '../helpers/boot.ts';
import { tempFolder } from '../helpers/temp.ts';
import { cli } from './harness.ts';

async function world(t: TestContext) {
  const stage = Stage.open(t);
  const registry = await stage.registry();
  const folder = tempFolder(t);
  const file = (name: string, content: string | Uint8Array) => {
    const path = join(folder, name);
    writeFileSync(path, content);
    return path;
  };
  const env = { HOLDFAST_URL: registry.url, HOLDFAST_TOKEN: registry.token, NO_COLOR: '1' };
  const run = (argv: readonly string[], stdin = '') => cli(['releases', ...argv], { env, stdin });
  const publish = (version: string, ...more: string[]) =>
    run(['publish', 'shop/api', version, '--train', 'stable', ...more]);
  const get = async (version: string) =>
    JSON.parse((await run(['get', 'shop/api', version, '--train', 'stable', '-o', 'json'])).stdout);
  return { stage, registry, file, run, publish, get, env };
}

test('releases publish is one step of CI: it creates, and again it changes nothing', async (t) => {
  const { registry, file, publish, get } = await world(t);
  const changes = file('CHANGES', '# 1.4.2\n\n- faster\n');
  const given = ['--notes', `@${changes}`, '--image', 'quay.io/shop/api:1.4.2', '--data', '{"build":17}'];
  const first = await publish('1.4.2', ...given);
  assert.deepEqual([first.code, first.stderr.trimEnd().split('\n').at(-1)], [0, 'published'], first.stderr);
  assert.match(first.stdout, /^version {2,}1\.4\.2$/m);
  assert.match(first.stdout, /^data {2,}\{"build":17\}$/m);
  assert.match(first.stdout, /\nnotes:\n {2}# 1\.4\.2\n\n {2}- faster\n$/);
  const document = await get('1.4.2');
  assert.deepEqual([document.description, document.data], ['# 1.4.2\n\n- faster\n', { build: 17 }]);
  const again = await publish('1.4.2', ...given);
  assert.match(again.stderr, /it was published before; it is as given now/);
  assert.deepEqual(await get('1.4.2'), document);
  const audit = await registry.http({ path: '/v1/audit?type=release.*' });
  assert.deepEqual(
    audit.json.items.map(({ type }: { type: string }) => type),
    ['release.published'],
  );
});

test('releases ls, get, latest and trains answer as of a moment', async (t) => {
  const { run, publish, stage } = await world(t);
  await publish('1.4.2', '--notes', 'before');
  stage.clock.stall(60_000);
  await publish('1.4.2', '--notes', 'after');
  await publish('1.5.0');
  const back = ['--train', 'stable', '--as-of', '30s'];
  const ls = await run(['ls', 'shop/api', ...back]);
  assert.match(ls.stdout, /^VERSION.*\n1\.4\.2 .* before\n$/, ls.stderr);
  assert.match((await run(['get', 'shop/api', '1.4.2', ...back])).stdout, /^notes +before$/m);
  assert.match((await run(['latest', 'shop/api', ...back])).stdout, /^version +1\.4\.2$/m);
  const trains = await run(['trains', 'shop/api', '--as-of', '2m']);
  assert.match(trains.stderr, /no trains: nothing of shop\/api is published/);
  const wrong = await run(['ls', 'shop/api', '--train', 'stable', '--as-of', 'then']);
  assert.deepEqual([wrong.code, /--as-of "then"/.test(wrong.stderr)], [2, true], wrong.stderr);
});

test('releases publish reads from stdin what is given as -', async (t) => {
  const { run, get } = await world(t);
  const published = await run(
    ['publish', 'shop/api', '1.0.0', '--train', 'stable', '--notes', '-'],
    'from stdin\n',
  );
  assert.equal(published.code, 0, published.stderr);
  assert.equal((await get('1.0.0')).description, 'from stdin\n');
});

test('releases publish takes a text as it stands, from a file or from stdin', async (t) => {
  const { file, run, publish, get } = await world(t);
  const data = file('build.json', '{"commit":"abc","deep":{"a":[1]}}');
  const stdin = await run(
    [
      'publish',
      'shop/api',
      '1.0.0',
      '--train',
      'stable',
      '--notes',
      '@-',
      '--fixes',
      'it',
      '--data',
      `@${data}`,
    ],
    'from stdin\n',
  );
  assert.equal(stdin.code, 0, stdin.stderr);
  const document = await get('1.0.0');
  assert.deepEqual(
    [document.description, document.fixes, document.data],
    ['from stdin\n', 'it', { commit: 'abc', deep: { a: [1] } }],
  );
  const dated = await publish('1.0.1', '--released', '2016-03-31T23:54:39+02:00');
  assert.match(dated.stdout, /^released {2,}2016-03-31T21:54:39\.000Z$/m);
});

test('releases ls, latest and get show them as a person reads them; withdraw takes one away', async (t) => {
  const { run, publish } = await world(t);
  await publish('2.0.0', '--released', '2017-03-01T00:00:00Z', '--notes', '\n# Two\nmore');
  await publish('1.0.9', '--released', '2017-04-01T00:00:00Z', '--notes', '\u200fa fix');
  const on = ['--train', 'stable'];
  const ls = await run(['ls', 'shop/api', ...on]);
  const [titles, ...lines] = ls.stdout.trimEnd().split('\n');
  assert.match(titles ?? '', /^VERSION +RELEASED +BY +NOTES$/);
  assert.match(lines[0] ?? '', /^1\.0\.9 .* ago +admin\.token +\ufffda fix$/);
  assert.match(lines[1] ?? '', /^2\.0\.0 .* # Two$/);
  const latest = async (...more: string[]) =>
    /^version +(\S+)$/m.exec((await run(['latest', 'shop/api', ...on, ...more])).stdout)?.[1];
  assert.equal(await latest(), '1.0.9');
  assert.equal(await latest('--by', 'semver'), '2.0.0');
  const withdrawn = await run(['withdraw', 'shop/api', '1.0.9', ...on]);
  assert.deepEqual([withdrawn.code, withdrawn.stdout], [0, '']);
  assert.equal(await latest(), '2.0.0');
  const none = await run(['ls', 'shop/web', ...on]);
  assert.deepEqual([none.code, none.stdout], [0, '']);
  assert.match(none.stderr, /no releases: nothing of shop\/web is published on train stable/);
});

test('releases refuses what cannot be, with the exit code of its kind', async (t) => {
  const { file, run, registry, env } = await world(t);
  const latin = file('latin1', Buffer.from([0x66, 0xfc, 0x72]));
  const huge = file('huge', 'x'.repeat(1_048_577));
  const key = ['shop/api', '1.4.2', '--train', 'stable'];
  const cases: [argv: string[], code: number, words: RegExp][] = [
    [['publish', 'shop/api', '1.4.2'], 2, /--train/],
    [['publish', 'shop/api', 'latest', '--train', 'x'], 2, /"latest" asks for the latest release/],
    [
      ['publish', ...key, '--released', '2016-03-31'],
      2,
      /Cannot read --released "2016-03-31": expected a time with a zone/,
    ],
    [
      ['publish', ...key, '--notes', '@/nonexistent/x'],
      2,
      /Cannot read \/nonexistent\/x for --notes: it does not exist/,
    ],
    [['publish', ...key, '--notes', `@${latin}`], 2, /for --notes: it is not UTF-8 text/],
    [['publish', ...key, '--fixes', `@${huge}`], 2, /for --fixes: it is larger than 1 MiB/],
    [['publish', ...key, '--notes', '-', '--data', '@-'], 2, /Cannot read --notes and --data from stdin/],
    [
      ['publish', ...key, '--notes', '@-', '--token-file', '-'],
      2,
      /Cannot read --token-file and --notes from/,
    ],
    [['publish', ...key, '--data', '[1]'], 2, /expected a JSON object/],
    [['publish', ...key, '--data', '{'], 2, /Cannot read --data: it is not JSON/],
    [['publish', ...key, '--notes', 'x'.repeat(70_000)], 1, /take 70000 bytes together/],
    [['get', ...key], 3, /Cannot find release "1\.4\.2" of "shop\/api" on train "stable"/],
    [['latest', 'shop/api', '--train', 'stable'], 3, /nothing is published there/],
    [['latest', 'shop/api', '--train', 'stable', '--by', 'size'], 2, /date, semver, debian/],
    [['withdraw', ...key], 3, /it is not published/],
    [['follow', 'shop/api', 'stable', '--train', 'stable'], 2, /it would follow itself: stable → stable/],
    [['follow', 'shop/api', 'beta', '--train', 'stable', '--delay', 'soon'], 2, /Cannot read --delay "soon"/],
    [['unfollow', 'shop/api', '--train', 'stable'], 3, /it follows none/],
  ];
  for (const [argv, code, words] of cases) {
    const outcome = await run(argv);
    assert.equal(outcome.code, code, `${argv.join(' ').slice(0, 200)}: ${outcome.stderr}`);
    assert.match(outcome.stderr, words, argv.join(' ').slice(0, 200));
  }
  const body = { role: 'viewer', subject: 'ann' };
  const { json } = await registry.http({ method: 'POST', path: '/v1/tokens', body });
  const viewer = await cli(['releases', 'publish', ...key], { env: { ...env, HOLDFAST_TOKEN: json.token } });
  assert.equal(viewer.code, 77, viewer.stderr);
});

test('a publisher publishes and reads releases, and nothing else', async (t) => {
  const { registry, env } = await world(t);
  const body = { role: 'publisher', subject: 'ci' };
  const { json } = await registry.http({ method: 'POST', path: '/v1/tokens', body });
  const run = (line: string) => cli(line.split(' '), { env: { ...env, HOLDFAST_TOKEN: json.token } });
  assert.equal((await run('releases publish openssl 3.0.13 --train stable')).code, 0);
  assert.match((await run('releases latest openssl --train stable')).stdout, /^published .* by ci$/m);
  assert.equal((await run('releases withdraw openssl 3.0.13 --train stable')).code, 0);
  assert.equal((await run('hosts ls')).code, 77);
});

test('audit and watch tell of releases in words', async (t) => {
  const { env, publish } = await world(t);
  await publish('1.4.2');
  const audit = await cli(['audit', 'ls', '--type', 'release.*'], { env });
  assert.match(audit.stdout, /release\.published .*shop\/api 1\.4\.2/);
  const line = (type: ChangeEvent['type'], body: object) =>
    eventLine(
      { position: '1.1', index: 0, at: '2026-01-31T12:03:01.000Z', actor: 'ci', type, body },
      false,
    ).slice(10);
  const key = { component: 'shop/api', train: 'stable' };
  assert.equal(
    line('release.published', { ...key, version: '1.4.2\u001b' }),
    'release.published    shop/api 1.4.2\ufffd on train stable',
  );
  assert.equal(
    line('release.followed', { ...key, follows: 'beta', delayMs: 7 * 86_400_000 }),
    'release.followed     shop/api train stable follows beta after 7d',
  );
  assert.equal(
    line('release.followed', { ...key, follows: 'beta', delayMs: 0 }),
    'release.followed     shop/api train stable follows beta',
  );
  assert.equal(
    line('release.unfollowed', { ...key, follows: 'beta', delayMs: 0 }),
    'release.unfollowed   shop/api train stable follows none any more',
  );
});

test('releases follow lets one train get what another has, later; unfollow ends it', async (t) => {
  const { run, publish } = await world(t);
  await publish('1.0.0', '--released', '2017-01-01T00:00:00Z');
  await publish('1.1.0');
  const followed = await run(['follow', 'shop/api', 'stable', '--train', 'prod', '--delay', '7d']);
  assert.deepEqual([followed.code, /^delay +7d$/m.test(followed.stdout)], [0, true], followed.stderr);
  const latest = () => run(['latest', 'shop/api', '--train', 'prod']);
  assert.match((await latest()).stdout, /^version +1\.0\.0$/m);
  // The command names all of it, so it may replace what is there.
  assert.match((await run(['follow', 'shop/api', 'stable', '--train', 'prod'])).stdout, /^delay +none$/m);
  assert.match((await latest()).stdout, /^version +1\.1\.0$/m);
  assert.equal(
    (await run(['trains', 'shop/api'])).stdout,
    ['TRAIN   FOLLOWS  DELAY', 'prod    stable   none', 'stable  -        -', ''].join('\n'),
  );
  assert.equal((await run(['unfollow', 'shop/api', '--train', 'prod'])).code, 0);
  assert.equal((await latest()).code, 3);
  assert.match((await run(['trains', 'shop/web'])).stderr, /no trains: nothing of shop\/web is published/);
});
