import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { firstLine, outcomeOf, probeByStep, Steps } from '../../../src/agent/checks/step.ts';
import { limits } from '../../../src/base/limits.ts';
import { AppError } from '../../../src/domain/error.ts';
import type { StepEnd } from '../../../src/domain/step.ts';
import { exited, ScriptedRunner } from '../scripted-runner.ts';

const signal = new AbortController().signal;

function outcome(end: StepEnd, { adopted = false, stdout = '', stderr = '' } = {}) {
  const { kind, detail, output } = outcomeOf({
    end,
    adopted,
    stdout,
    stderr,
    startedAtMs: 0,
    durationMs: 0,
    droppedBytes: 0,
  });
  return `${kind}: ${detail}${output === undefined ? '' : ` (${output})`}`;
}

suite('outcomeOf()', () => {
  test('passes with 0, fails with all that says something of what was looked at', () => {
    assert.equal(outcome({ kind: 'exited', exitCode: 0 }), 'passed: exit code 0');
    assert.equal(
      outcome({ kind: 'exited', exitCode: 0 }, { stdout: 'DISK OK - 5 %\nmore\n' }),
      'passed: exit code 0 (DISK OK - 5 %)',
    );
    assert.equal(outcome({ kind: 'exited', exitCode: 2 }), 'failed: exit code 2');
    assert.equal(
      outcome({ kind: 'exited', exitCode: 2 }, { stderr: '\nno route\n' }),
      'failed: exit code 2 (no route)',
    );
    assert.equal(outcome({ kind: 'signalled', signal: 'SIGSEGV' }), 'failed: ended by SIGSEGV');
    assert.match(outcome({ kind: 'timed-out' }), /^failed: over its time limit/);
    assert.match(outcome({ kind: 'out-of-memory' }), /^failed: over its memory limit/);
    assert.equal(outcome({ kind: 'passed', detail: 'pid 7' }), 'passed: pid 7');
    assert.equal(outcome({ kind: 'failed', detail: 'inactive' }), 'failed: inactive');
  });

  test('is unknown when nobody knows how it ended, or an adopted one ended otherwise than with 0', () => {
    assert.equal(
      outcome({ kind: 'lost', detail: 'the machine was restarted' }),
      'unknown: the machine was restarted',
    );
    assert.match(outcome({ kind: 'cancelled' }), /^unknown/);
    assert.match(outcome({ kind: 'exited', exitCode: 0 }, { adopted: true }), /^passed/);
    for (const end of [
      { kind: 'exited', exitCode: 1 },
      { kind: 'signalled', signal: 'SIGPIPE' },
      { kind: 'timed-out' },
    ] as const)
      assert.match(outcome(end, { adopted: true }), /^unknown/);
  });

  test('firstLine() is cut, and null when nothing was written', () => {
    assert.equal(firstLine({ stdout: ' \n ', stderr: '' }), null);
    assert.equal(firstLine({ stdout: 'x'.repeat(1_000), stderr: '' })?.length, 200);
  });
});

suite('Steps', () => {
  test('without a runner nothing runs, and the words say so', async () => {
    const steps = new Steps(null);
    await assert.rejects(steps.run({ kind: 'detector', component: 'nginx' }, { signal }), {
      code: 'unavailable',
      message: /Cannot run the detector of "nginx": no runner on this host/,
    });
    const found = await probeByStep(steps, 'nginx', { signal, onTurn: () => assert.fail('nothing begins') });
    assert.equal(found.kind, 'unknown');
  });

  test('what the runner refuses is unknown, with its words', async () => {
    const runner = new ScriptedRunner();
    runner.scripts.set(
      'nginx',
      new AppError('forbidden', 'Cannot run the check "nginx": user "x" is not allowed'),
    );
    assert.deepEqual(await probeByStep(new Steps(runner), 'nginx', { signal, onTurn: () => undefined }), {
      kind: 'unknown',
      detail: 'Cannot run the check "nginx": user "x" is not allowed',
    });
  });

  test('asks for so many at once, and for the others when their turn comes', async () => {
    const runner = new ScriptedRunner();
    const steps = new Steps(runner);
    runner.scripts.set('nginx', exited(0));
    let turns = 0;
    const looks = Array.from({ length: 100 }, () =>
      probeByStep(steps, 'nginx', {
        signal,
        onTurn: () => {
          turns += 1;
        },
      }),
    );
    assert.ok((await Promise.all(looks)).every(({ kind }) => kind === 'passed'));
    assert.deepEqual([turns, runner.mostUnderWay], [100, limits.checkStepsMax]);
  });

  test('who waits for a turn when it stops never begins', async () => {
    const runner = new ScriptedRunner();
    const steps = new Steps(runner);
    runner.scripts.set('nginx', 'hung');
    const stop = new AbortController();
    const looks = Array.from({ length: limits.checkStepsMax + 5 }, () =>
      steps.run({ kind: 'check', check: 'nginx' }, { signal: stop.signal }),
    );
    const reason = new Error('stop');
    stop.abort(reason);
    for (const look of looks) await assert.rejects(look, reason);
    assert.equal(runner.asked.length, limits.checkStepsMax);
  });
});
