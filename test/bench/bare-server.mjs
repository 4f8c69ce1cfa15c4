/**
 * The yardstick: what `node:http` alone can do. Reads the body, parses it as JSON, and answers what the registry
 * answered to the same request, made into text for every request, as the registry has to. It knows no routes, callers
 * or schemas. Plain JavaScript, so that its memory is that of Node and nothing else.
 *
 *     node bare-server.mjs [answer.json]      {"headers": {…}, "body": …}
 */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';

const file = process.argv[2];
const answer =
  file === undefined ? { headers: {}, body: { ok: true } } : JSON.parse(readFileSync(file, 'utf8'));

const server = createServer({ keepAliveTimeout: 75_000 }, (request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    if (chunks.length > 0)
      JSON.parse(chunks.length === 1 ? chunks[0].toString() : Buffer.concat(chunks).toString());
    const text = JSON.stringify(answer.body);
    response.writeHead(200, { ...answer.headers, 'content-length': Buffer.byteLength(text) });
    response.end(text);
  });
});
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(
    `${JSON.stringify({ ready: 'bare', url: `http://127.0.0.1:${server.address().port}` })}\n`,
  );
});
