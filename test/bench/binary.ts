import type { BenchGroup } from './bench.ts'; export const binarySize: BenchGroup = { name: 'binary', run: async () => ({ title: 'binary', rows: [], notes: [] }) };
