import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import {
  decideSession,
  type HostSessions,
  isUndecided,
  noSessions,
  sessionLeft,
} from '../../src/domain/clone.ts';

/** Beats of sessions by one letter each, one every five seconds: `ABAB`. Lower case repeats that session's last beat. */
function play(
  beats: string,
  { machines = {}, everyMs = 5_000 }: { machines?: Record<string, string | null>; everyMs?: number } = {},
) {
  let sessions: HostSessions = noSessions;
  let nowMs = 0;
  const seqs = new Map<string, number>();
  const verdicts: string[] = [];
  let clones = 0;
  for (const letter of beats) {
    nowMs += everyMs;
    const name = letter.toUpperCase();
    const seq = (seqs.get(name) ?? 0) + (letter === name ? 1 : 0);
    seqs.set(name, seq);
    const machineId = machines[name] === undefined ? 'joined' : machines[name];
    const told = { bootId: name, startedAtMs: name.charCodeAt(0), seq, machineId };
    const decision = decideSession(sessions, told, { joinedMachineId: 'joined', nowMs });
    sessions = decision.sessions;
    verdicts.push(decision.verdict);
    if (decision.cloned) clones += 1;
  }
  return { sessions, verdicts, clones, last: verdicts.at(-1) };
}

suite('decideSession()', () => {
  test('takes a steady agent, and every restart of it, for one machine', () => {
    const { verdicts, clones } = play('AAAABBBCDEFGHHH');
    assert.deepEqual([new Set(verdicts), clones], [new Set(['current']), 0]);
  });

  test('G10: counts no beat twice, of no session', () => {
    assert.deepEqual(play('Aa').verdicts, ['current', 'replay']);
    assert.deepEqual(play('AABaBb').verdicts, [
      'current',
      'current',
      'current',
      'replay',
      'current',
      'replay',
    ]);
    assert.equal(play('ABaaaaaaaa').clones, 0);
  });

  test('takes a beat that was still under way when its agent ended for no clone', () => {
    const { clones, verdicts } = play('AABABBBBB');
    assert.deepEqual([clones, verdicts[3], verdicts.at(-1)], [0, 'aside', 'current']);
  });

  test('G9: knows a clone within two beats of each', () => {
    assert.equal(play('ABAB').clones, 0);
    for (const beats of ['ABABA', 'ABAA', 'AABBAABB']) assert.equal(play(beats).clones, 1, beats);
  });

  test('G9: leaves the identity to the one with the machine id of the join, whoever came first', () => {
    const machines = { B: 'copy' };
    assert.deepEqual(play('ABABABAB', { machines }).verdicts.slice(4), [
      'current',
      'outcast',
      'current',
      'outcast',
    ]);
    assert.deepEqual(play('BABABABA', { machines }).verdicts.slice(4), [
      'outcast',
      'current',
      'outcast',
      'current',
    ]);
    // Whatever was there before the copy was made.
    assert.equal(play('YYZZABABAB', { machines }).last, 'outcast');
    // Also a new start of the copy, and none of the keeper.
    assert.equal(play('ABABAC', { machines: { B: 'copy', C: 'copy' } }).last, 'outcast');
    assert.equal(play('ABABAC', { machines }).last, 'current');
  });

  test('G9: tells neither what to do when both or none have the machine id of the join', () => {
    for (const machines of [{}, { A: 'x', B: 'y' }, { A: null, B: null }, { A: null, B: 'y' }]) {
      const { verdicts, sessions, clones } = play('ABABABAB', { machines });
      assert.deepEqual(
        [new Set(verdicts.slice(4)), isUndecided(sessions), clones],
        [new Set(['aside']), true, 1],
      );
    }
  });

  test('G9: knows a hundred copies of an image whose first machine is gone', () => {
    const letters = Array.from({ length: 26 }, (_, index) => String.fromCharCode(65 + index)).join('');
    const machines = Object.fromEntries([...letters].map((letter) => [letter, letter]));
    const { sessions, clones } = play(letters.repeat(4), { machines, everyMs: 400 });
    assert.deepEqual([isUndecided(sessions), clones], [true, 1]);
  });

  test('believes the one that is left when the other has been silent for long', () => {
    const minutes = (count: number) => 'A'.repeat(count * 12);
    const { verdicts, sessions } = play(`ABABAB${minutes(9)}`);
    assert.deepEqual([verdicts.at(-1), isUndecided(sessions)], ['aside', true]);
    const later = play(`ABABAB${minutes(11)}`);
    assert.equal(isUndecided(later.sessions), false);
  });

  test('any beats of one machine, also repeated and late by one, prove no clone', () => {
    const restarts = fc.array(fc.tuple(fc.integer({ min: 1, max: 5 }), fc.boolean(), fc.nat(3)), {
      minLength: 1,
      maxLength: 26,
    });
    fc.assert(
      fc.property(restarts, (starts) => {
        let beats = '';
        starts.forEach(([count, late, replays], index) => {
          const name = String.fromCharCode(65 + index);
          beats += name.repeat(count);
          // The last beat of the start before arrives after this one's first, once.
          if (late && index > 0) beats += String.fromCharCode(64 + index);
          beats += name.toLowerCase().repeat(replays);
        });
        const { clones, sessions } = play(beats);
        assert.deepEqual([clones, sessions.clone], [0, null], beats);
      }),
    );
  });

  test('two machines that both go on beating are always found', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom('A', 'B'), { minLength: 4, maxLength: 60 }), (letters) => {
        const beats = letters.join('');
        // Each at least twice after the other had begun.
        const second = Math.max(beats.indexOf('A'), beats.indexOf('B'));
        const first = beats[0] ?? '';
        if (second < 1 || (beats.slice(second).match(new RegExp(first, 'g')) ?? []).length < 2) return;
        assert.equal(play(beats).clones, 1, beats);
      }),
    );
  });
});

suite('sessionLeft()', () => {
  const told = (name: string) => ({ bootId: name, startedAtMs: name.charCodeAt(0) });

  test('gives the host to the one that is left, once there is one', () => {
    const { sessions } = play('ABCABCABC');
    assert.equal(isUndecided(sessions), true);
    const two = sessionLeft(sessions, told('A'), 46_000);
    assert.equal(two !== null && isUndecided(two), true);
    const one = sessionLeft(two ?? noSessions, told('C'), 46_000);
    assert.deepEqual([one?.current?.bootId, one?.displaced, one?.clone], ['B', [], null]);
    assert.equal(sessionLeft(one ?? noSessions, told('B'), 46_000), null);
  });

  test('counts nobody who has been silent for longer than any agent may be', () => {
    const { sessions } = play('ABABAB');
    assert.equal(sessionLeft(sessions, told('A'), 30_000 + 152_001), null);
  });
});
