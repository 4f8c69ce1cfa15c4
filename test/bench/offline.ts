import type { BenchGroup } from './bench.ts'; export const offline: BenchGroup = { name: 'offline', run: async () => ({ title: 'offline', rows: [], notes: [] }) };
