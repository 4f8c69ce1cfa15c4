import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';

test('a probe that this process has no file left for says nothing of what it would have looked at', () => {
  const checks = join(import.meta.dirname, '../../../src/agent/checks');
  // Both listen, and would pass; what is imported late would need a file too.
  const script = `
    const { openSync, closeSync } = await import('node:fs');
    const { createServer } = await import('node:http');
    const { probeTcp } = await import('${checks}/tcp.ts');
    const { probeHttp } = await import('${checks}/http.ts');
    const server = createServer((_, response) => response.end('here'));
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address();
    const { signal } = new AbortController();
    const http = { kind: 'http', url: \`http://127.0.0.1:\${port}/\`, status: [[200, 299]], match: null };
    const look = async () => [
      (await probeTcp({ kind: 'tcp', host: '127.0.0.1', port }, { signal })),
      (await probeHttp(http, { signal, search: () => null })),
    ];
    const before = await look();
    const open = [];
    try { for (;;) open.push(openSync('/dev/null')); } catch {}
    const full = await look();
    for (const fd of open) closeSync(fd);
    console.log(JSON.stringify([before, full].flat()));
    process.exit(0);`;
  const said = execFileSync(
    'sh',
    ['-c', 'ulimit -n 128; exec "$@"', 'sh', process.execPath, '--input-type=module', '-e', script],
    {
      encoding: 'utf8',
    },
  );
  const outcomes = JSON.parse(said) as { kind: string; detail: string }[];
  assert.deepEqual(
    outcomes.map(({ kind }) => kind),
    ['passed', 'passed', 'unknown', 'unknown'],
    said,
  );
  assert.match(outcomes[2]?.detail ?? '', /nobody could look: this process has too many files open/);
});
