/** What machines ask about the process: probes, metrics, version, API description. Outside `/v1`. */
import { Type } from 'typebox';
import { strictObject, words } from '../wire/schema.ts';
import {
  type Answer,
  type Check,
  type CheckStatus,
  checkStatuses,
  type HttpServices,
  operation,
} from './operation.ts';
import { asAppError } from './problem.ts';

const tag = 'probes';

export const CheckSchema = strictObject({
  status: words(checkStatuses),
  detail: Type.Optional(Type.String()),
  stats: Type.Optional(
    strictObject({
      dialect: words(['sqlite', 'postgres']),
      leader: Type.Boolean(),
      position: Type.String(),
      writesWaiting: Type.Integer(),
      sizeBytes: Type.Integer(),
      answerMs: Type.Number(),
    }),
  ),
});
export const HealthSchema = strictObject({
  status: words(checkStatuses),
  checks: Type.Record(Type.String(), CheckSchema),
});

export const livez = operation({
  id: 'livez',
  requestClass: 'probe',
  tag,
  summary: 'The process answers',
  answers: { 200: HealthSchema },
  handle: () => health({}, 200),
});

export const readyz = operation({
  id: 'readyz',
  requestClass: 'probe',
  tag,
  summary: 'It can serve; 503 while it starts, waits to lead, or closes',
  answers: { 200: HealthSchema, 503: HealthSchema },
  handle({ services, context }) {
    const { ready, checks } = services.health();
    if (context.closing())
      return health({ ...checks, closing: { status: 'failed', detail: 'shutting down' } }, 503);
    if (ready) return health(checks, 200);
    const failed = Object.values(checks).some(({ status }) => status === 'failed');
    return health(failed ? checks : { ...checks, ready: { status: 'failed' } }, 503);
  },
});

export const healthz = operation({
  id: 'healthz',
  requestClass: 'probe',
  tag,
  summary: 'How it is doing, part by part, the store by asking it; 503 when a part has failed',
  answers: { 200: HealthSchema, 503: HealthSchema },
  async handle({ services }) {
    const checks = await withStore(services);
    return health(checks, worst(checks) === 'failed' ? 503 : 200);
  },
});

export const metrics = operation({
  id: 'metrics',
  requestClass: 'probe',
  tag,
  summary: 'Metrics in the Prometheus text format',
  answers: { 200: 'text/plain' },
  async handle({ context }) {
    return { kind: 'text', status: 200, ...(await context.metrics.render(context)) };
  },
});

export const version = operation({
  id: 'version',
  requestClass: 'probe',
  tag,
  summary: 'Version, commit, and the wire versions spoken',
  answers: {
    200: strictObject({ version: Type.String(), commit: Type.String(), wire: Type.Array(Type.Integer()) }),
  },
  handle: ({ context }) => ({
    kind: 'json',
    status: 200,
    body: { version: context.version, commit: context.commit, wire: [1] },
  }),
});

export const openApi = operation({
  id: 'openApi',
  requestClass: 'probe',
  tag,
  summary: 'This description',
  answers: { 200: Type.Object({}) },
  handle: ({ context }) => ({
    kind: 'text',
    status: 200,
    type: 'application/json; charset=utf-8',
    text: context.openApi(),
  }),
});

/** What is known of the parts, with what the store answers now. */
async function withStore({ health, probeStore }: HttpServices): Promise<Readonly<Record<string, Check>>> {
  const { checks } = health();
  if (probeStore === undefined) return checks;
  try {
    const stats = await probeStore();
    return { ...checks, store: { status: 'ok', ...checks['store'], stats } };
  } catch (error) {
    return { ...checks, store: { status: 'failed', detail: asAppError(error).message } };
  }
}

export const swagger = operation({
  id: 'swagger',
  requestClass: 'probe',
  tag,
  summary: 'The routes of workflow-manager-api, as Swagger 2.0',
  answers: { 200: Type.Object({}) },
  handle: ({ context }) => ({
    kind: 'text',
    status: 200,
    type: 'application/json',
    text: context.swagger(),
  }),
});

function health(checks: Readonly<Record<string, Check>>, status: 200 | 503): Answer {
  return { kind: 'json', status, body: { status: worst(checks), checks } };
}

function worst(checks: Readonly<Record<string, Check>>): CheckStatus {
  const found = new Set(Object.values(checks).map(({ status }) => status));
  return found.has('failed') ? 'failed' : found.has('degraded') ? 'degraded' : 'ok';
}
