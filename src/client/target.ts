/** A host's target over the wire. */
import { Type } from 'typebox';
import { AppError } from '../domain/error.ts';
import type { TargetDocument } from '../domain/target.ts';
import { parseJson } from '../wire/json.ts';
import { paths } from '../wire/paths.ts';
import { TargetSchema } from '../wire/target.ts';
import { type ApiRequest, expectBody } from './request.ts';

/** The answer's own text is what is signed, in its header `Holdfast-Signature`; nothing of it is believed before. */
export const targetRequests = {
  get: (hostId: string) =>
    ({
      method: 'GET',
      path: paths.hostTarget(hostId),
      answer: expectBody(Type.Unknown()),
    }) satisfies ApiRequest,
};

/**
 * How the body of a target is read; loads what that needs. The reader drops members that it does not know, which are a
 * newer registry's, and throws `bad-request`.
 */
export async function targetReader(): Promise<(text: string) => TargetDocument> {
  const { Check, Clean } = await import('typebox/value');
  return (text) => {
    const known = Clean(TargetSchema, parseJson(text));
    if (Check(TargetSchema, known)) return known;
    throw new AppError('bad-request', 'Cannot read the target: it has not the members of one');
  };
}
