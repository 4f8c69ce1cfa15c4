/**
 * The yardstick: what `node:http` alone can do. Reads the body, parses it as JSON, and answers what the registry
 * answered to the same request, made into text for every request, as the registry has to. It knows no routes, callers
 * or schemas. Plain JavaScript, so that its memory is that of Node and nothing else.
 *
 *     node bare-server.mjs [answer.json [key-and-certificate.pem]]      {"headers": {…}, "body": …}
 */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';

const [, , file, pemFile] = process.argv;
const answer =
  file === undefined ? { headers: {}, body: { ok: true } } : JSON.parse(readFileSync(file, 'utf8'));

const listener = (request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    if (chunks.length > 0)
      JSON.parse(chunks.length === 1 ? chunks[0].toString() : Buffer.concat(chunks).toString());
    const text = JSON.stringify(answer.body);
    response.writeHead(200, { ...answer.headers, 'content-length': Buffer.byteLength(text) });
    response.end(text);
  });
};
const options = { keepAliveTimeout: 75_000 };
const pem = pemFile === undefined ? undefined : readFileSync(pemFile);
const server =
  pem === undefined
    ? createServer(options, listener)
    : createTlsServer({ ...options, key: pem, cert: pem, minVersion: 'TLSv1.3' }, listener);
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(
    `${JSON.stringify({ ready: 'bare', url: `http${pem === undefined ? '' : 's'}://127.0.0.1:${server.address().port}` })}\n`,
  );
});
