import type { BenchGroup } from './bench.ts'; export const recovery: BenchGroup = { name: 'recovery', run: async () => ({ title: 'recovery', rows: [], notes: [] }) };
