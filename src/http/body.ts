/** Reading request bodies: JSON in UTF-8 and nothing else. */
import type { FastifyInstance } from 'fastify';
import { AppError } from '../domain/error.ts';
import { parseJson } from '../wire/json.ts';

/** Replaces Fastify's own parsers; every other media type is `unsupported`. */
export function readJsonBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, bytes: Buffer, done) => {
    try {
      checkCharset(request.headers['content-type'] ?? '');
      // No body is not an empty document: what may be left out may be left out with a content type, too.
      done(null, bytes.length === 0 ? undefined : parseJson(bytes));
    } catch (error) {
      // All that parseJson throws are AppErrors.
      done(error as Error);
    }
  });
}

function checkCharset(contentType: string): void {
  if (contentType === 'application/json') return;
  const charset = /;\s*charset\s*=\s*"?([^";\s]*)/i.exec(contentType)?.[1];
  if (charset === undefined || /^utf-?8$/i.test(charset)) return;
  throw new AppError('unsupported', `Cannot read a body in charset "${charset.slice(0, 40)}": expected UTF-8`, { field: 'content-type' });
}
