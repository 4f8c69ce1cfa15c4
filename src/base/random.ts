/** Randomness as an argument, so that tests can repeat themselves. The only file that draws from the system. */
import { randomBytes } from 'node:crypto';

export interface Random {
  /** `count` bytes, unpredictable to others. */
  bytes(count: number): Uint8Array;
  /** A number in [0, 1), for jitter. */
  uniform(): number;
}

export const systemRandom: Random = {
  bytes: (count) => randomBytes(count),
  uniform: () => Math.random(),
};
