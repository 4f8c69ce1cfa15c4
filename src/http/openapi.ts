/** `/openapi.json`: OpenAPI 3.1 from the route table and its schemas. What is validated is what is described. */
import { STATUS_CODES } from 'node:http';
import { type TSchema, Type } from 'typebox';
import { type ErrorCode, errorCodes } from '../domain/error.ts';
import { AuditEntrySchema } from '../wire/audit.ts';
import { BeatAnswerSchema, HostSchema } from '../wire/host.ts';
import { ComponentSchema, ComponentSummarySchema } from '../wire/inventory.ts';
import { IsUpSchema, ServicePatchSchema, ServiceSchema } from '../wire/liveness.ts';
import { problemMediaType, statusOf } from '../wire/problem.ts';
import { ReleaseSchema } from '../wire/release.ts';
import { words } from '../wire/schema.ts';
import { TokenSchema } from '../wire/token.ts';
import { TrainSchema } from '../wire/train.ts';
import type { Kind, Operation } from './operation.ts';
import { CheckSchema, HealthSchema } from './probes.ts';
import type { Route } from './routes.ts';

const ProblemSchema = Type.Object(
  {
    type: Type.String(),
    title: Type.String(),
    status: Type.Integer(),
    detail: Type.String({ description: 'Action, state, wish: for people' }),
    code: words(errorCodes, { description: 'For programs' }),
    field: Type.Optional(Type.String({ description: 'The input that is wrong' })),
    requestId: Type.String(),
  },
  {
    description: 'RFC 9457 problem details; further members may stand beside, such as `holder` of a conflict',
  },
);

/** Schemas that stand once and are referred to by name. */
const named: readonly [string, TSchema][] = [
  ['Service', ServiceSchema],
  ['ServicePatch', ServicePatchSchema],
  ['IsUp', IsUpSchema],
  ['Host', HostSchema],
  ['BeatAnswer', BeatAnswerSchema],
  ['Component', ComponentSchema],
  ['ComponentSummary', ComponentSummarySchema],
  ['Train', TrainSchema],
  ['Release', ReleaseSchema],
  ['Token', TokenSchema],
  ['AuditEntry', AuditEntrySchema],
  ['Check', CheckSchema],
  ['Health', HealthSchema],
  ['Problem', ProblemSchema],
];

const tags: Readonly<Record<string, string>> = {
  doctor: 'What ill hosts tell of themselves',
  notify: 'Whom the registry tells of what',
  liveness: 'What is alive: service records, heartbeats, is-up',
  hosts: 'Machines with an agent',
  inventory: 'What is installed',
  releases: 'What is released: versions of components on trains',
  trust: 'What hosts believe this registry by, and how it is replaced',
  access: 'Who may: tokens, who the caller is, and the audit of what was done',
  import: 'What other programs knew, taken over',
  watch: 'The ordered log, live and resumable',
  system: 'The role itself',
  probes: 'For machines that look after this one',
};

const commonCodes: readonly ErrorCode[] = [
  'bad-request',
  'too-slow',
  'headers-too-large',
  'internal',
  'unavailable',
];
const callerCodes: readonly ErrorCode[] = ['unauthenticated', 'forbidden', 'rate-limited'];
const bodyCodes: readonly ErrorCode[] = ['too-large', 'unsupported'];
const writeCodes: readonly ErrorCode[] = ['storage-full'];

export function openApiDocument(routes: readonly Route[], about: { kind: Kind; version: string }): object {
  const paths: Record<string, Record<string, object>> = {};
  for (const route of routes) {
    // What `/swagger.json` describes.
    if (route.operation.legacy !== null) continue;
    const path = route.path.replaceAll(/:(\w+)/g, '{$1}');
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: describe(route) };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: `Holdfast ${about.kind}`,
      version: about.version,
      summary: 'Know what runs on every host, and hold it there.',
      description: `The HTTP API of a Holdfast ${about.kind}. Unknown fields and query names are refused by name; every failure is a problem document.`,
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/', description: 'This server' }],
    tags: Object.entries(tags).map(([name, description]) => ({ name, description })),
    security: [{ bearer: [] }],
    paths,
    components: {
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer', description: 'An API token or the credential of a host' },
      },
      schemas: schemasOf(paths),
    },
  };
}

/** The named schemas that `paths` refers to, directly or through one another: an agent has no hosts to describe. */
function schemasOf(paths: object): Record<string, unknown> {
  const used = new Set<string>();
  const collect = (part: unknown) => {
    for (const [, name = ''] of JSON.stringify(part).matchAll(/"#\/components\/schemas\/(\w+)"/g)) {
      if (used.has(name)) continue;
      used.add(name);
      const schema = named.find(([known]) => known === name)?.[1];
      collect(plain(schema, schema));
    }
  };
  collect(paths);
  return Object.fromEntries(
    named.filter(([name]) => used.has(name)).map(([name, schema]) => [name, plain(schema, schema)]),
  );
}

function describe({ method, path, access, operation }: Route): object {
  const { id, tag, summary, body, bodyOptional, creates, gzip } = operation;
  const open = access === 'open' || access === 'probe';
  return {
    operationId: id,
    tags: [tag],
    summary,
    description: `${summary}. ${accessWords(access)}${gzip ? ' The body may be compressed with gzip.' : ''}`,
    ...(open ? { security: access === 'open' ? [] : [{}, { bearer: [] }] } : {}),
    parameters: [
      ...[...path.matchAll(/:(\w+)/g)].map(([, name]) => ({
        name,
        in: 'path',
        required: true,
        description: `One percent-encoded segment`,
        schema: { type: 'string' },
      })),
      ...queryParameters(operation.query),
      ...(creates
        ? [
            {
              name: 'Idempotency-Key',
              in: 'header',
              required: false,
              description: 'The same key within a day gets the same answer',
              schema: { type: 'string', maxLength: 128 },
            },
          ]
        : []),
      ...(id === 'events'
        ? [
            {
              name: 'Last-Event-ID',
              in: 'header',
              required: false,
              description: 'Resumes; goes before `since`',
              schema: { type: 'string' },
            },
          ]
        : []),
    ],
    ...(body === null
      ? {}
      : {
          requestBody: { required: !bodyOptional, content: { 'application/json': { schema: plain(body) } } },
        }),
    responses: { ...answers(operation), ...failures(codesOf(method, access, operation)) },
  };
}

function accessWords(access: Route['access']): string {
  if (access === 'open') return 'Open to everyone.';
  if (access === 'proof') return 'For whoever proves the key of the host.';
  if (access === 'known') return 'For every caller.';
  if (access === 'probe')
    return 'For viewers, operators, approvers and admins; on a loopback listener for everyone.';
  return `Roles: ${access.join(', ')}.`;
}

function queryParameters(query: TSchema | null): object[] {
  if (query === null) return [];
  const { properties, required } = plain(query, query) as {
    properties: Record<string, { description?: string; type?: string }>;
    required?: string[];
  };
  return Object.entries(properties).map(([name, schema]) => ({
    name,
    in: 'query',
    required: required?.includes(name) ?? false,
    description:
      schema.description ?? (schema.type === 'array' ? `Repeatable: any of these` : `Only with this ${name}`),
    schema,
  }));
}

function answers({ answers }: Operation): Record<string, object> {
  return Object.fromEntries(
    Object.entries(answers).map(([status, schema]) => {
      const description = STATUS_CODES[status] ?? 'Done';
      if (schema === null) return [status, { description }];
      if (typeof schema === 'string')
        return [status, { description, content: { [schema]: { schema: { type: 'string' } } } }];
      return [status, { description, content: { 'application/json': { schema: plain(schema) } } }];
    }),
  );
}

function codesOf(method: string, access: Route['access'], operation: Operation): readonly ErrorCode[] {
  return [
    ...commonCodes,
    ...(access === 'open' ? [] : callerCodes),
    ...(method === 'GET' ? [] : bodyCodes),
    ...(method === 'GET' ? [] : writeCodes),
    ...operation.codes,
  ];
}

/** One response per status, naming its codes. */
function failures(codes: readonly ErrorCode[]): Record<string, object> {
  const byStatus = new Map<number, ErrorCode[]>();
  for (const code of errorCodes) {
    if (codes.includes(code)) byStatus.set(statusOf(code), [...(byStatus.get(statusOf(code)) ?? []), code]);
  }
  return Object.fromEntries(
    [...byStatus].map(([status, list]) => [
      String(status),
      {
        description: list.join(', '),
        content: { [problemMediaType]: { schema: { $ref: '#/components/schemas/Problem' } } },
      },
    ]),
  );
}

/** Plain JSON Schema; whatever has a name becomes a reference, but for `top` itself. */
function plain(schema: unknown, top?: TSchema): unknown {
  if (Array.isArray(schema)) return schema.map((item) => plain(item));
  if (typeof schema !== 'object' || schema === null) return schema;
  const name = schema === top ? undefined : named.find(([, other]) => other === schema)?.[0];
  if (name !== undefined) return { $ref: `#/components/schemas/${name}` };
  return Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, plain(value)]));
}
