/** What a role takes from its surroundings when whoever embeds it has nothing else in mind. */
import { type Clock, systemClock } from './clock.ts';
import { type Logger, silentLogger } from './log.ts';
import { type Random, systemRandom } from './random.ts';
import { COMMIT, VERSION } from './version.ts';

export interface Surroundings {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly version: string;
  readonly commit: string;
}

export const surroundings: Surroundings = {
  clock: systemClock,
  random: systemRandom,
  logger: silentLogger,
  version: VERSION,
  commit: COMMIT,
};
