import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { Steps } from '../../../src/agent/checks/step.ts';
import { systemdDetector } from '../../../src/agent/detectors/systemd.ts';
import { createSearch } from '../../../src/base/search.ts';
import { readDetectors, type SystemdDetectorSpec } from '../../../src/domain/detector.ts';
import { AppError } from '../../../src/domain/error.ts';
import type { StepEnd } from '../../../src/domain/step.ts';
import { ScriptedRunner } from '../scripted-runner.ts';

const signal = new AbortController().signal;
const loaded: StepEnd = { kind: 'passed', detail: 'loaded' };

function setup() {
  const runner = new ScriptedRunner();
  const [spec] = readDetectors([
    { systemd: 'api.service', match: 'shop/api:(?<version>\\S+)', component: 'shop/api' },
  ]);
  const parts = { steps: new Steps(runner), search: createSearch() };
  const detector = systemdDetector(spec as SystemdDetectorSpec, parts);
  return {
    detector,
    after: (script: { end: StepEnd; stdout?: string } | AppError) => {
      runner.scripts.set('shop/api', script);
      return detector.detect({ signal });
    },
  };
}

suite('systemdDetector()', () => {
  test('finds the version in the property, and answers the same array while it is the same', async () => {
    const { after, detector } = setup();
    const stdout = '{ path=/usr/bin/podman ; argv[]=/usr/bin/podman run r.example/shop/api:1.4.2 ; pid=7 }';
    const first = await after({ end: loaded, stdout });
    assert.deepEqual(first, [{ name: 'shop/api', version: '1.4.2', detector: 'systemd:shop/api' }]);
    assert.equal(await after({ end: loaded, stdout: stdout.replace('pid=7', 'pid=8') }), first);
    assert.deepEqual([detector.everyMs, detector.lookMs], [300_000, 20_000]);
  });

  test('a host without the unit, or without systemd, has nothing of it installed', async () => {
    const { after } = setup();
    assert.equal(await after({ end: { kind: 'failed', detail: 'unit is not-found' } }), null);
    const details = { reason: 'no-systemd' };
    assert.equal(await after(new AppError('unprocessable', 'no systemd', { details })), null);
  });

  test('throws when the unit names no version, is broken, or cannot be asked about', async () => {
    const { after } = setup();
    await assert.rejects(after({ end: loaded, stdout: '/bin/api' }), {
      message: /nothing in ExecStart of api\.service matches/,
      details: { output: '/bin/api' },
    });
    await assert.rejects(after({ end: { kind: 'failed', detail: 'unit is bad-setting' } }), /bad-setting/);
    await assert.rejects(after({ end: { kind: 'timed-out' } }), /over its time limit/);
    await assert.rejects(after(new AppError('unprocessable', 'Cannot look: gone')), /gone/);
  });
});
