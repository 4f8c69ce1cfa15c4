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
    // Errors then say what was found, and what the schema says of itself.
    verbose: true,
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
  const error = mostTelling(errors);
  const { keyword, params } = error;
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
        `Cannot accept the ${what}: ${path === '' ? 'it' : JSON.stringify(field)} ${problem(error)}`,
        { field },
      );
    }
  }
}

type Refusal = ErrorObject<string, Record<string, unknown>, unknown>;

/**
 * Of a union, what its branches wanted is noise: the union itself is the last to complain. But one branch may take this
 * kind of value and only find it too long.
 */
function mostTelling(errors: readonly ErrorObject[]): Refusal {
  const union = errors.find(({ keyword }) => keyword === 'anyOf');
  const within = errors.filter(({ keyword }) => keyword !== 'anyOf' && keyword !== 'type');
  const error = union === undefined ? errors[0] : within.length === 1 ? within[0] : union;
  if (error === undefined) throw new Error('Ajv refused without an error');
  return error as Refusal;
}

/** What is wrong and what was expected: `is a number, expected a text`. */
function problem(error: Refusal): string {
  const { keyword, params, data } = error;
  const limit = String(params['limit']);
  switch (keyword) {
    case 'type':
      return `is ${kindOf(data)}, expected ${kindsIn(error.parentSchema)}`;
    case 'anyOf':
      return `is ${kindOf(data)}, expected ${kindsIn(error.parentSchema)}`;
    case 'enum':
      return `is ${shown(data)}, expected one of ${(params['allowedValues'] as unknown[]).map(String).join(', ')}`;
    case 'const':
      return `is ${shown(data)}, expected ${shown(params['allowedValue'])}`;
    case 'minLength':
      return data === '' ? 'is empty' : `is ${shown(data)}, expected at least ${limit} characters`;
    case 'maxLength':
      return `is longer than ${limit} characters`;
    case 'minItems':
      return `has ${sizeOf(data)} items, expected at least ${limit}`;
    case 'maxItems':
      return `has ${sizeOf(data)} items, expected at most ${limit}`;
    case 'minProperties':
      return `has ${sizeOf(data)} members, expected at least ${limit}`;
    case 'maxProperties':
      return `has ${sizeOf(data)} members, expected at most ${limit}`;
    case 'minimum':
      return `is ${shown(data)}, expected at least ${limit}`;
    case 'maximum':
      return `is ${shown(data)}, expected at most ${limit}`;
    default:
      return `is ${shown(data)}, expected ${descriptionOf(error.parentSchema) ?? 'another form'}`;
  }
}

const kinds: Readonly<Record<string, string>> = {
  string: 'a text',
  number: 'a number',
  integer: 'a whole number',
  boolean: 'true or false',
  null: 'null',
  array: 'a list',
  object: 'an object',
};

function kindOf(data: unknown): string {
  if (data === null) return 'null';
  if (Array.isArray(data)) return 'a list';
  if (typeof data === 'boolean' || typeof data === 'number') return String(data);
  return kinds[typeof data] ?? 'nothing';
}

/** What a schema takes, in words: of a union each of its branches once. */
function kindsIn(schema: object | undefined): string {
  const { type, anyOf } = (schema ?? {}) as { type?: string | string[]; anyOf?: object[] };
  if (anyOf !== undefined) return [...new Set(anyOf.map(kindsIn))].join(' or ');
  return (
    [type ?? []]
      .flat()
      .map((name) => kinds[name] ?? name)
      .join(' or ') || 'something else'
  );
}

function descriptionOf(schema: object | undefined): string | undefined {
  return (schema as { description?: string } | undefined)?.description;
}

function shown(data: unknown): string {
  const text = JSON.stringify(data) ?? 'nothing';
  return text.length <= 80 ? text : `${text.slice(0, 80)}…`;
}

function sizeOf(data: unknown): number {
  return Array.isArray(data) ? data.length : Object.keys(data ?? {}).length;
}

/** A name that a stranger wrote, before it is shown. */
function cut(field: string): string {
  return field.length <= 200 ? field : `${field.slice(0, 200)}…`;
}
