/** Reading a target, once its signature holds. */
import { AppError } from '../domain/error.ts';
import type { TargetDocument } from '../domain/target.ts';
import { parseJson } from './json.ts';

/**
 * How the body of a target is read; loads what that needs. The reader drops members that it does not know, which are a
 * newer registry's, and throws `bad-request`.
 */
export async function targetReader(): Promise<(text: string) => TargetDocument> {
  const [{ Check, Clean }, { TargetSchema }] = await Promise.all([
    import('typebox/value'),
    import('./target.ts'),
  ]);
  return (text) => {
    const known = Clean(TargetSchema, parseJson(text));
    if (Check(TargetSchema, known)) return known;
    throw new AppError('bad-request', 'Cannot read the target: it has not the members of one');
  };
}
