/** The error that something is refused with. */
import assert from 'node:assert/strict';

export function refusedBy(fn: () => unknown): unknown {
  try {
    fn();
  } catch (error) {
    return error;
  }
  assert.fail('it was not refused');
}
