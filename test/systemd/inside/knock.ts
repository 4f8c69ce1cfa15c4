/**
 * Tries, as whoever runs it, what a curious user would: each socket to read and to write, each folder to list and to
 * write into. Prints one JSON object: path → what came of it.
 */
import { readdirSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';

const [, , ...paths] = process.argv;
const found: Record<string, unknown> = {};
for (const path of paths) {
  if (path.endsWith('.sock')) {
    found[path] = {
      read: await ask(path, 'GET', '/v1/services', {}),
      write: await ask(path, 'PUT', '/v1/services/01a1fa36-cd8a-70d0-b351-5a95e8642e47', {
        type: 'knock',
        host: 'edge-1',
      }),
      admin: await ask(path, 'POST', '/v1/tokens', { role: 'admin' }),
    };
  } else {
    found[path] = {
      list: attempt(() => readdirSync(path)),
      write: attempt(() => writeFileSync(join(path, 'planted'), '')),
    };
  }
}
process.stdout.write(JSON.stringify(found));

function attempt(fn: () => void): string {
  try {
    fn();
    return 'ok';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}

/** The status, or why there is none. */
function ask(socketPath: string, method: string, path: string, content: object): Promise<number | string> {
  return new Promise((resolve) => {
    const body = method === 'GET' ? '' : JSON.stringify(content);
    const headers = { 'content-type': 'application/json', 'content-length': body.length };
    const question = request({ socketPath, method, path, headers, timeout: 5_000 }, (answer) => {
      answer.resume();
      answer.once('end', () => resolve(answer.statusCode ?? 0));
    });
    question.once('timeout', () => question.destroy(new Error('no answer')));
    question.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    question.end(body);
  });
}
