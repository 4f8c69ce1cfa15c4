import type { BenchGroup } from './bench.ts'; export const watch: BenchGroup = { name: 'watch', run: async () => ({ title: 'watch', rows: [], notes: [] }) };
