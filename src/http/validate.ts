/** Bodies and queries against their schemas. Compiled at first use: a start needs none of them. */
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';
import type { TSchema } from 'typebox';
import { AppError } from '../domain/error.ts';

/** What it refuses is `bad-request` naming the field; too many items in a body are `too-large`. */
export type Validate = (data: unknown) => true | { error: AppError };

/** `query` strings become what the schema wants, and one value a list of one; a body is taken as it is. */
export type Part = 'body' | 'query';

export function createValidators(): (
  schema: TSchema,
  part: Part,
  options: { optional: boolean },
) => Validate {
  // Not all errors: the first is what a person needs, and a hostile body would have millions.
  const common = {
    allErrors: false,
    strict: false,
    allowUnionTypes: true,
    logger: false,
    validateFormats: false,
  } as const;
  const ajvs: Partial<Record<Part, Ajv>> = {};
  const ajvOf = (part: Part) =>
    (ajvs[part] ??= new Ajv({ ...common, coerceTypes: part === 'query' ? 'array' : false }));
  return (schema, part, { optional }) => {
    let compiled: ValidateFunction | undefined;
    return (data) => {
      if ((data === undefined || data === null) && optional) return true;
      if (data === undefined && part === 'body') {
        return {
          error: new AppError('bad-request', 'Cannot accept the request: expected a JSON body', {
            field: 'body',
          }),
        };
      }
      compiled ??= ajvOf(part).compile(schema);
      if (compiled(data)) return true;
      return { error: refusal(compiled.errors ?? [], part) };
    };
  };
}

function refusal(errors: readonly ErrorObject[], part: Part): AppError {
  // Of a union, what its branches wanted is noise: the union itself is the last to complain.
  const error = errors.find(({ keyword }) => keyword === 'anyOf') ?? errors[0];
  if (error === undefined) throw new Error('Ajv refused without an error');
  const { keyword, params } = error as ErrorObject<string, Record<string, unknown>>;
  const path = error.instancePath.slice(1).replaceAll('~1', '/').replaceAll('~0', '~');
  const below = (name: unknown) => cut(path === '' ? String(name) : `${path}/${String(name)}`);
  const what = part === 'query' ? 'query' : 'body';
  switch (keyword) {
    case 'additionalProperties': {
      const field = below(params['additionalProperty']);
      return new AppError('bad-request', `Cannot accept the ${what}: ${JSON.stringify(field)} is unknown`, {
        field,
      });
    }
    case 'required': {
      const field = below(params['missingProperty']);
      return new AppError('bad-request', `Cannot accept the ${what}: ${JSON.stringify(field)} is missing`, {
        field,
      });
    }
    default: {
      const field = path === '' ? what : cut(path);
      const code = keyword === 'maxItems' && part === 'body' ? 'too-large' : 'bad-request';
      return new AppError(
        code,
        `Cannot accept the ${what}: ${path === '' ? 'it' : JSON.stringify(field)} ${wish(error)}`,
        { field },
      );
    }
  }
}

function wish(error: ErrorObject): string {
  const { keyword, params } = error as ErrorObject<string, Record<string, unknown>>;
  if (keyword === 'enum')
    return `must be one of ${(params['allowedValues'] as unknown[]).map(String).join(', ')}`;
  if (keyword === 'anyOf') return 'has none of the types that it may have';
  return error.message ?? `breaks ${keyword}`;
}

/** A name that a stranger wrote, before it is shown. */
function cut(field: string): string {
  return field.length <= 200 ? field : `${field.slice(0, 200)}…`;
}
