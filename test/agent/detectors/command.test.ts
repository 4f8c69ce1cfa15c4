import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { Steps } from '../../../src/agent/checks/step.ts';
import { commandDetector } from '../../../src/agent/detectors/command.ts';
import { createSearch } from '../../../src/base/search.ts';
import { type CommandDetectorSpec, readDetectors } from '../../../src/domain/detector.ts';
import { AppError } from '../../../src/domain/error.ts';
import { exited, type Script, ScriptedRunner } from '../scripted-runner.ts';

const signal = new AbortController().signal;

function setup(given: object = {}) {
  const runner = new ScriptedRunner();
  const [spec] = readDetectors([
    { command: ['nginx', '-v'], match: 'nginx/(?<version>\\S*)', component: 'nginx', ...given },
  ]);
  const parts = { steps: new Steps(runner), search: createSearch() };
  const detector = commandDetector(spec as CommandDetectorSpec, parts);
  const after = (script: Script | AppError) => {
    runner.scripts.set('nginx', script);
    return detector.detect({ signal });
  };
  return { detector, after, spec: spec as CommandDetectorSpec };
}

suite('commandDetector()', () => {
  test('finds the version on stdout or stderr, and the same array while it is the same', async () => {
    const { detector, after } = setup();
    assert.deepEqual(
      [detector.name, detector.everyMs, detector.lookMs],
      ['command:nginx', 3_600_000, 20_000],
    );
    const first = await after({
      end: { kind: 'exited', exitCode: 0 },
      stderr: 'nginx version: nginx/1.22.1\n',
    });
    assert.deepEqual(first, [{ name: 'nginx', version: '1.22.1', detector: 'command:nginx' }]);
    assert.equal(await after(exited(0, 'nginx/1.22.1')), first);
    assert.equal((await after(exited(0, 'nginx/1.24.0')))?.[0]?.version, '1.24.0');
  });

  test('throws with words for whatever is no version', async () => {
    const { after } = setup();
    for (const [script, words] of [
      [exited(1, 'cannot open config'), /version of "nginx": exit code 1$/],
      [{ end: { kind: 'timed-out' } }, /over its time limit/],
      [{ end: { kind: 'lost', detail: 'the runner was killed' } }, /the runner was killed/],
      [exited(0, 'Apache/2.4'), /nothing that its command writes matches nginx\S*$/],
      [exited(0), /nothing that its command writes matches/],
      [exited(0, 'nginx/ x'), /finds is not 1 to 256 printable/],
      [exited(0, `nginx/${'1'.repeat(257)}`), /finds is not 1 to 256 printable/],
      [exited(0, 'nginx/1\u001b[31m'), /printable/],
      [new AppError('not-found', 'Cannot run: agent.yaml does not name it'), /does not name it/],
    ] as const)
      await assert.rejects(after(script), { message: words });
  });

  test('what the command wrote stands apart from the words, for those whom it concerns', async () => {
    await assert.rejects(setup().after(exited(1, 'secret: 7\nmore')), { details: { output: 'secret: 7' } });
    await assert.rejects(setup().after(exited(0)), { details: { output: null } });
  });

  test('a host without the program has nothing installed of it', async () => {
    const { after } = setup();
    await after(exited(0, 'nginx/1.22.1'));
    const gone = new AppError('unprocessable', 'Cannot start "nginx": there is no such program', {
      details: { reason: 'no-program' },
    });
    assert.equal(await after(gone), null);
    await assert.rejects(after(new AppError('unprocessable', 'Cannot start "nginx": no such user')));
    assert.equal((await after(exited(0, 'nginx/1.22.1')))?.[0]?.version, '1.22.1');
  });

  test('a pattern that would take forever ends, and says so', async () => {
    const { after } = setup({ match: '^(?<version>(a+)+)$' });
    await assert.rejects(after(exited(0, `${'a'.repeat(60)}b`)), { message: /took longer than 100 ms/ });
  });

  test('without a runner it fails, and the words say so', async () => {
    const { spec } = setup();
    const detector = commandDetector(spec, { steps: new Steps(null), search: createSearch() });
    await assert.rejects(detector.detect({ signal }), {
      code: 'unavailable',
      message: /no runner on this host/,
    });
  });
});
