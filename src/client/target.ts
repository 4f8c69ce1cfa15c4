/** A host's target over the wire. */
import { AppError } from '../domain/error.ts';
import type { TargetDocument } from '../domain/target.ts';
import { parseJson } from '../wire/json.ts';
import { TargetSchema } from '../wire/target.ts';

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
