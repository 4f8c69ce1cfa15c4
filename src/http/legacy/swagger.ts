/** `/swagger.json`: Swagger 2.0 of the routes of workflow-manager-api, from the table that they are served by. */
import type { TSchema } from 'typebox';
import { LegacyError } from '../../wire/legacy-schema.ts';
import type { Route } from '../routes.ts';
import { legacyType } from './form.ts';

export function swaggerDocument(routes: readonly Route[], version: string): object {
  const paths: Record<string, Record<string, object>> = {};
  for (const route of routes) {
    if (route.operation.legacy === null) continue;
    const path = route.path.replaceAll(/:(\w+)/g, '{$1}');
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: describe(route) };
  }
  return {
    swagger: '2.0',
    info: {
      title: 'Workflow Manager',
      version,
      description:
        'The API of workflow-manager-api, versions 2 and 3, as a Holdfast registry serves it. Keys of bodies are matched whatever their case.',
    },
    consumes: [legacyType],
    produces: [legacyType],
    securityDefinitions: {
      bearer: {
        type: 'apiKey',
        in: 'header',
        name: 'Authorization',
        description: '"Bearer" and an API token',
      },
      basic: { type: 'basic', description: 'Whom the registry lets read doctor reports' },
    },
    paths,
    definitions: { Error: plain(LegacyError) },
  };
}

function describe({ path, access, operation }: Route): object {
  const { tag, summary, query, body, answers, legacy } = operation;
  const security =
    access === 'open' || access === 'probe'
      ? []
      : [{ bearer: [] }, ...(legacy?.basic === true ? [{ basic: [] }] : [])];
  return {
    operationId: `${operation.id}${path.startsWith('/v2/') ? 'V2' : ''}`,
    tags: [tag],
    summary,
    security,
    parameters: [
      ...[...path.matchAll(/:(\w+)/g)].map(([, name]) => ({
        name,
        in: 'path',
        required: true,
        type: 'string',
      })),
      ...Object.entries(propertiesOf(query)).map(([name, schema]) => ({
        name,
        in: 'query',
        required: false,
        ...plain(schema),
      })),
      ...(body === null ? [] : [{ name: 'body', in: 'body', required: true, schema: plain(body) }]),
    ],
    responses: {
      ...Object.fromEntries(
        Object.entries(answers).map(([status, schema]) => [
          status,
          {
            description: summary,
            ...(schema === null || typeof schema === 'string' ? {} : { schema: plain(schema) }),
          },
        ]),
      ),
      default: { description: 'It did not work', schema: { $ref: '#/definitions/Error' } },
    },
  };
}

function propertiesOf(query: TSchema | null): Readonly<Record<string, TSchema>> {
  return query === null
    ? {}
    : ((query as TSchema & { properties: Record<string, TSchema> }).properties ?? {});
}

/** Without what TypeBox notes on it. */
function plain(schema: TSchema): object {
  return JSON.parse(JSON.stringify(schema)) as object;
}
