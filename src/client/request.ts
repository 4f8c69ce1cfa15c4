/**
 * A request as data: what is asked, how the answer must look, and whether asking twice does no harm. Each domain's
 * file lists its requests; the contracts call them, and so does whoever wants the answer's own text (`-o json`).
 */
import type { Static, TSchema } from 'typebox';

/** Absent values are left out, lists become repeated parameters. */
export type Query = Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>;

export interface ApiRequest<Answer = unknown> {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly query?: Query;
  readonly body?: unknown;
  /** A large body is sent compressed, to a server that takes it so. */
  readonly gzip?: boolean;
  /** The versions that it is meant for; null or absent: whichever there is, `*`: so too, and it is said. */
  readonly ifMatch?: readonly number[] | '*' | null;
  /** What the answer must be; null: 204 and nothing. Made by `expect`. */
  readonly answer: Expectation<Answer>;
  /** Doing it twice has the effect of doing it once, so it may be retried. Default: GET only. */
  readonly idempotent?: boolean;
  /** Creates something under an id that the server mints: sent with an `Idempotency-Key`, the same for each attempt. */
  readonly creates?: boolean;
}

/** The schema of an answer, with its type. */
export interface Expectation<Answer> {
  readonly schema: TSchema | null;
  /** Only a type. */
  readonly type?: Answer;
}

/** An answer that matches `schema`; members that the schema does not know are a newer server's, and are dropped. */
export function expectBody<S extends TSchema>(schema: S): Expectation<Static<S>> {
  return { schema };
}

export const expectNothing: Expectation<undefined> = { schema: null };

/** A checked answer: `text` is what the server wrote, `document` the same as the schema knows it. */
export interface Answer<Document> {
  readonly status: number;
  readonly text: string;
  readonly document: Document;
  /** By their names in lower case; of one that came more than once, the first. */
  readonly headers: Readonly<Record<string, string | undefined>>;
}

/** `/v1/services?status=UP&type=a&type=b` */
export function pathWithQuery(path: string, query: Query = {}): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined) continue;
    for (const one of Array.isArray(value) ? (value as readonly string[]) : [String(value)])
      parameters.append(name, one);
  }
  return parameters.size === 0 ? path : `${path}?${parameters}`;
}
