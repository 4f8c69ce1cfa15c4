/**
 * The one message frame on WebSockets, and its older form as a list of frames (FORMATS "Envelope and watch"). Both
 * carry the same: whom to answer, an id (a topic or a correlation, compared exactly), a media type and a body.
 */
import { isUtf8 } from 'node:buffer';
import { limits } from '../base/limits.ts';
import { AppError } from '../domain/error.ts';
import { parseJson, stringifyJson } from './json.ts';

export interface Envelope {
  /** May be empty. */
  readonly id: string;
  /** Any text; the part before `;` decides what `body` is. */
  readonly mimetype: string;
  /** `application/json`: the JSON value. `text/…`: a string. All else: a Uint8Array. */
  readonly body: unknown;
  /** The way back to who asked, the last hop first; empty when nobody waits. No address is empty. */
  readonly replyTo: readonly string[];
  /** The JSON body as its sender wrote it, when it came in frames, so that a relay passes on the very bytes. */
  readonly original?: { readonly body: unknown; readonly bytes: Uint8Array };
}

const fields = ['v', 'id', 'mimetype', 'body', 'encoding', 'replyTo'];

/** The envelope itself is one level around the body. */
const depthMax = limits.jsonDepthMax + 1;

/** The text frame. Throws `bad-request` naming the field when the body does not fit the media type, or JSON. */
export function encodeEnvelope(envelope: Envelope): string {
  const { id, mimetype, body, replyTo } = envelope;
  requireAddresses(replyTo, 'write');
  const kind = bodyKind(mimetype);
  requireBody(kind, body, mimetype);
  return stringifyJson(
    {
      v: 1,
      id,
      mimetype,
      body: kind === 'bytes' ? asBuffer(body as Uint8Array).toString('base64') : body,
      ...(kind === 'bytes' ? { encoding: 'base64' } : {}),
      ...(replyTo.length > 0 ? { replyTo } : {}),
    },
    { depthMax },
  );
}

/** Reads a text frame. Throws `bad-request` naming the field; unknown fields are refused. */
export function decodeEnvelope(text: string | Uint8Array): Envelope {
  const frame = parseJson(text, { depthMax });
  if (typeof frame !== 'object' || frame === null || Array.isArray(frame)) {
    throw unreadable('it is not a JSON object', '');
  }
  const unknown = Object.keys(frame).find((key) => !fields.includes(key));
  if (unknown !== undefined) {
    throw unreadable(
      `unknown field ${JSON.stringify(unknown.slice(0, 80))}, expected ${fields.join(', ')}`,
      unknown,
    );
  }
  const { v, id, mimetype, body, encoding, replyTo = [] } = frame as Record<string, unknown>;
  if (v !== 1) throw unreadable(`v is ${shown(v)}, expected 1`, 'v');
  if (typeof id !== 'string') throw unreadable(`id is ${shown(id)}, expected a string`, 'id');
  if (typeof mimetype !== 'string')
    throw unreadable(`mimetype is ${shown(mimetype)}, expected a string`, 'mimetype');
  if (!Array.isArray(replyTo)) throw unreadable(`replyTo is ${shown(replyTo)}, expected a list`, 'replyTo');
  requireAddresses(replyTo, 'read');
  return { id, mimetype, body: decodeBody(mimetype, body, encoding), replyTo };
}

function decodeBody(mimetype: string, body: unknown, encoding: unknown): unknown {
  const kind = bodyKind(mimetype);
  const encodingWished = kind === 'bytes' ? 'base64' : undefined;
  if (encoding !== encodingWished) {
    const wished = encodingWished === undefined ? 'none' : `"${encodingWished}"`;
    throw unreadable(`encoding is ${shown(encoding)}, expected ${wished} for ${shown(mimetype)}`, 'encoding');
  }
  if (kind === 'json' && body !== undefined) return body;
  if (typeof body !== 'string')
    throw unreadable(`body is ${shown(body)}, expected ${bodyWish[kind]}`, 'body');
  if (kind === 'text') return body;
  const bytes = Buffer.from(body, 'base64');
  // Buffer skips what is no base64; only the canonical text comes out again as it went in.
  if (bytes.toString('base64') !== body) throw unreadable('body is not base64 (RFC 4648, padded)', 'body');
  return bytes;
}

/** `[…replyTo, '', id, mimetype, body]`; without replyTo the last three. Throws as `encodeEnvelope`. */
export function toFrames(envelope: Envelope): Buffer[] {
  const { id, mimetype, replyTo } = envelope;
  requireAddresses(replyTo, 'write');
  const route = replyTo.length > 0 ? [...replyTo, ''] : [];
  return [...[...route, id, mimetype].map(utf8), frameBody(envelope)];
}

function frameBody({ mimetype, body, original }: Envelope): Buffer {
  const kind = bodyKind(mimetype);
  requireBody(kind, body, mimetype);
  if (kind === 'bytes') return asBuffer(body as Uint8Array);
  if (kind === 'text') return utf8(body as string);
  // An envelope made from another by `{...envelope, body}` still has the original of that one.
  if (original !== undefined && original.body === body) return asBuffer(original.bytes);
  return utf8(stringifyJson(body));
}

/**
 * Reads a frame list; strings stand for their UTF-8. `toFrames` of the result gives the same bytes. Throws
 * `bad-request`: fewer than three parts, four parts (a separator without a route), a separator that is not empty.
 */
export function fromFrames(frames: readonly (string | Uint8Array)[]): Envelope {
  const parts = frames.map((frame) => (typeof frame === 'string' ? utf8(frame) : asBuffer(frame)));
  const [idPart, mimetypePart, bodyPart] = parts.slice(-3);
  if (idPart === undefined || mimetypePart === undefined || bodyPart === undefined) {
    throw unreadable(`it has ${parts.length} parts, expected 3, or 5 and more`, '');
  }
  if (parts.length === 4) throw unreadable('it has 4 parts, expected 3, or 5 and more', 'replyTo');
  const separator = parts.at(-4);
  if (separator !== undefined && separator.length > 0) {
    throw unreadable(
      `part ${parts.length - 3} is not empty, expected the separator before id, mimetype, body`,
      'replyTo',
    );
  }
  const replyTo = parts.slice(0, -4).map((part, index) => textOf(part, `replyTo/${index}`));
  requireAddresses(replyTo, 'read');
  const id = textOf(idPart, 'id');
  const mimetype = textOf(mimetypePart, 'mimetype');
  switch (bodyKind(mimetype)) {
    case 'json': {
      const body = parseJson(bodyPart);
      return { id, mimetype, body, replyTo, original: { body, bytes: bodyPart } };
    }
    case 'text':
      return { id, mimetype, body: textOf(bodyPart, 'body'), replyTo };
    case 'bytes':
      return { id, mimetype, body: bodyPart, replyTo };
  }
}

/** The answer to `request`: it goes back the way that came, under the same id unless another (also '') is given. */
export function replyEnvelope(
  request: Envelope,
  answer: { readonly mimetype: string; readonly body: unknown; readonly id?: string },
): Envelope {
  const { mimetype, body, id = request.id } = answer;
  return { id, mimetype, body, replyTo: request.replyTo };
}

/** The body of a `text/…` envelope. Throws `unsupported` when it is of another type. */
export function textBody(envelope: Envelope): string {
  if (bodyKind(envelope.mimetype) === 'text') return envelope.body as string;
  throw new AppError(
    'unsupported',
    `Cannot read text: mimetype is ${shown(envelope.mimetype)}, expected text/plain`,
    {
      field: 'mimetype',
    },
  );
}

/** The body of an `application/json` envelope. Throws `unsupported` when it is of another type. */
export function jsonBody(envelope: Envelope): unknown {
  if (bodyKind(envelope.mimetype) === 'json') return envelope.body;
  throw new AppError(
    'unsupported',
    `Cannot read JSON: mimetype is ${shown(envelope.mimetype)}, expected application/json`,
    {
      field: 'mimetype',
    },
  );
}

type BodyKind = 'json' | 'text' | 'bytes';

const bodyWish = { json: 'a JSON value', text: 'a string', bytes: 'a string in base64' } as const;

function bodyKind(mimetype: string): BodyKind {
  const essence = (mimetype.split(';', 1)[0] ?? '').trim().toLowerCase();
  if (essence === 'application/json') return 'json';
  return essence.startsWith('text/') ? 'text' : 'bytes';
}

/** A handler may be anybody's code, so what it answers is checked when it is written. */
function requireBody(kind: BodyKind, body: unknown, mimetype: string): void {
  const fits = {
    json: body !== undefined,
    text: typeof body === 'string',
    bytes: body instanceof Uint8Array,
  };
  if (fits[kind]) return;
  const wish = { ...bodyWish, bytes: 'a Uint8Array' }[kind];
  throw new AppError(
    'bad-request',
    `Cannot write envelope: body is ${shown(body)}, expected ${wish} for ${shown(mimetype)}`,
    {
      field: 'body',
    },
  );
}

function requireAddresses(replyTo: readonly unknown[], action: 'read' | 'write'): void {
  const index = replyTo.findIndex((address) => typeof address !== 'string' || address === '');
  if (index === -1) return;
  const field = `replyTo/${index}`;
  throw new AppError(
    'bad-request',
    `Cannot ${action} envelope: ${field} is ${shown(replyTo[index])}, expected an address`,
    {
      field,
    },
  );
}

function textOf(part: Buffer, field: string): string {
  if (isUtf8(part)) return part.toString('utf8');
  throw unreadable(`${field} is not UTF-8`, field);
}

/** Half a surrogate pair has no UTF-8; writing U+FFFD in its place would say something else. */
function utf8(text: string): Buffer {
  if (text.isWellFormed()) return Buffer.from(text, 'utf8');
  throw new AppError('bad-request', 'Cannot write envelope: half of a surrogate pair in a text');
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function unreadable(problem: string, field: string): AppError {
  return new AppError('bad-request', `Cannot read envelope: ${problem}`, { field });
}

/** A value as a message may show it: short, and not an object's insides. */
function shown(value: unknown): string {
  if (value === undefined) return 'missing';
  if (typeof value === 'string') return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value);
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' && value !== null ? 'an object' : String(value);
}
