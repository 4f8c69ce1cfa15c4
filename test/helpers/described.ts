/** Answers against the `/openapi.json` of the server that gave them. */
import assert from 'node:assert/strict';
import type { ValidateFunction } from 'ajv';
import { Ajv2020 } from 'ajv/dist/2020.js';
import type { Exchange, HttpAnswer } from './http.ts';

interface Response {
  readonly content?: Readonly<Record<string, { readonly schema: object }>>;
}

export interface Operation {
  /** As in the description: `/v1/services/{uuid}`. */
  readonly path: string;
  readonly method: string;
  readonly parameters: readonly { readonly name: string; readonly in: string; readonly schema: object }[];
  /** Null: it takes no body. */
  readonly body: object | null;
  readonly responses: Readonly<Record<string, Response>>;
}

/** The description of a server, and whether its answers keep to it. */
export class Described {
  readonly operations: readonly Operation[];
  /** Answers that were looked at, by status. */
  readonly looked = new Map<number, number>();
  readonly #components: object;
  readonly #ajv = new Ajv2020({ strict: false, validateFormats: false, allErrors: true });
  readonly #validators = new Map<object, ValidateFunction>();

  private constructor(document: { paths: Record<string, Record<string, unknown>>; components: object }) {
    this.#components = document.components;
    this.operations = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, described]) => {
        const {
          parameters = [],
          requestBody,
          responses,
        } = described as {
          parameters?: Operation['parameters'];
          requestBody?: { content: { 'application/json': { schema: object } } };
          responses: Operation['responses'];
        };
        const body = requestBody?.content['application/json'].schema ?? null;
        return { path, method: method.toUpperCase(), parameters, body, responses };
      }),
    );
  }

  static async of(http: (exchange: Exchange) => Promise<HttpAnswer>): Promise<Described> {
    const { json, status } = await http({ path: '/openapi.json' });
    assert.equal(status, 200);
    return new Described(json);
  }

  operation(method: string, path: string): Operation {
    const found = this.operations.find((one) => one.method === method && one.path === path);
    assert(found !== undefined, `${method} ${path} is not described`);
    return found;
  }

  /** Fails when the status is not described, or the body is not what is described for it. */
  check({ method, path, responses }: Operation, { status, headers, text, json }: HttpAnswer): void {
    const what = `${method} ${path} answered ${status} ${text.slice(0, 300)}`;
    this.looked.set(status, (this.looked.get(status) ?? 0) + 1);
    const response = responses[String(status)];
    assert(response !== undefined, `${what}: described are ${Object.keys(responses)}`);
    if (response.content === undefined) {
      assert.equal(text, '', `${what}: described is none`);
      return;
    }
    const type = String(headers['content-type']).split(';')[0] ?? '';
    const content = response.content[type];
    assert(content !== undefined, `${what}: ${type}, described are ${Object.keys(response.content)}`);
    if (!type.endsWith('json')) return;
    const validate = this.#validator(content.schema);
    assert(validate(json), `${what}: ${this.#ajv.errorsText(validate.errors)}`);
  }

  #validator(schema: object): ValidateFunction {
    let validate = this.#validators.get(schema);
    if (validate === undefined) {
      // References are to #/components/schemas of the whole document.
      validate = this.#ajv.compile({ ...schema, components: this.#components });
      this.#validators.set(schema, validate);
    }
    return validate;
  }
}
