/** A runner that can be killed: launches the orders of its second argument, with the folder of ends that is its first. */
import { systemClock } from '../../../src/base/clock.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { systemRandom } from '../../../src/base/random.ts';
import type { Launch } from '../../../src/runner/launcher.ts';
import { createTransientUnits } from '../../../src/runner/transient-units.ts';

const [, , folder = '', orders = '[]'] = process.argv;
const launcher = createTransientUnits({
  owner: 'test',
  folder,
  clock: systemClock,
  random: systemRandom,
  logger: silentLogger,
});
for (const order of JSON.parse(orders) as Launch[]) {
  await launcher.launch(order);
  process.stdout.write(`started ${order.name}\n`);
}
