/**
 * What agent and runner say to each other on the runner's socket: one envelope a line, whose id is the question's.
 *
 * `run` and `trust` and `status` are answered once, under their id, with `result`, `status` or `error`. `cancel` takes
 * back the question of its id, which is not answered then. What is no envelope is answered with an error on id `""`.
 *
 * Read by hand and not by a schema: the runner is to start fast and stay small, and the library of the schemas alone
 * takes longer to load than all the rest of it.
 */
import { limits } from '../base/limits.ts';
import { AppError, type ErrorCode, errorCodes } from '../domain/error.ts';
import type { Step, StepEnd, StepResult } from '../domain/step.ts';
import type { TrustKey } from '../domain/trust.ts';
import { decodeEnvelope, encodeEnvelope, jsonBody } from './envelope.ts';

export type RunnerRequest =
  /** `registryNowMs`: the registry's clock as the agent knows it; null when it never heard of it. */
  | { readonly op: 'run'; readonly step: Step; readonly registryNowMs: number | null }
  | { readonly op: 'cancel' }
  | { readonly op: 'status' }
  /** Whom the runner believes from now on; taken once. */
  | { readonly op: 'trust'; readonly hostId: string; readonly keys: readonly TrustKey[] };

export type RunnerAnswer =
  | { readonly kind: 'result'; readonly result: StepResult }
  | { readonly kind: 'status'; readonly status: RunnerStatus }
  | RunnerRefusal;

export interface RunnerRefusal {
  readonly kind: 'error';
  readonly code: ErrorCode;
  readonly detail: string;
  readonly field?: string;
  readonly details?: AppError['details'];
  readonly retryAfterMs?: number;
}

/** How a runner is. */
export interface RunnerStatus {
  readonly version: string;
  /** What it starts steps with. */
  readonly launcher: 'systemd' | 'processes';
  /** Steps that run now. */
  readonly running: number;
  /** Results that wait for somebody who asks. */
  readonly kept: number;
  /** Steps that are not started for a while, because the runner died of them. */
  readonly putAside: readonly string[];
  /** Whose targets it believes; null before anybody was named. */
  readonly trust: {
    readonly hostId: string;
    readonly epoch: number | null;
    readonly serial: number | null;
  } | null;
  /** Why agent.yaml cannot be used; null when it can. */
  readonly problem: string | null;
}

const mimetype = 'application/json';

/** One line, with its end. */
export function encodeLine(id: string, body: RunnerRequest | RunnerAnswer): string {
  return `${encodeEnvelope({ id, mimetype, body, replyTo: [] })}\n`;
}

/** The id and the body of a line. Throws `bad-request`, `unsupported`. */
export function decodeLine(line: Uint8Array): { readonly id: string; readonly body: unknown } {
  const envelope = decodeEnvelope(line);
  if (envelope.id.length > idLengthMax)
    throw new AppError('bad-request', `Cannot read envelope: id is longer than ${idLengthMax}`, {
      field: 'id',
    });
  return { id: envelope.id, body: jsonBody(envelope) };
}

const idLengthMax = 128;

/** Throws `bad-request` naming the field. */
export function readRequest(body: unknown): RunnerRequest {
  const { op } = objectOf(body, '');
  switch (op) {
    case 'run': {
      const { step, registryNowMs } = members(body, '', ['op', 'step', 'registryNowMs']);
      return {
        op,
        step: readStep(step),
        registryNowMs: registryNowMs === null ? null : readCount(registryNowMs, 'registryNowMs'),
      };
    }
    case 'cancel':
    case 'status':
      members(body, '', ['op']);
      return { op };
    case 'trust': {
      const { hostId, keys } = members(body, '', ['op', 'hostId', 'keys']);
      return {
        op,
        hostId: readText(hostId, 'hostId', idLengthMax),
        keys: listOf(keys, 'keys', keysMax).map((key, index) => readKey(key, `keys/${index}`)),
      };
    }
    default:
      throw refusal('op', op, 'one of run, cancel, status, trust');
  }
}

const keysMax = 8;

/** Throws `bad-request` for what no runner answers. */
export function readAnswer(body: unknown): RunnerAnswer {
  const answer = objectOf(body, '');
  switch (answer['kind']) {
    case 'result':
      return { kind: 'result', result: readResult(answer['result']) };
    case 'status':
      objectOf(answer['status'], 'status');
      return answer as unknown as RunnerAnswer;
    case 'error': {
      const { code, detail } = answer;
      if (!errorCodes.includes(code as ErrorCode)) throw refusal('code', code, 'a code of an error');
      readText(detail, 'detail', limits.runnerLineBytes);
      return answer as unknown as RunnerRefusal;
    }
    default:
      throw refusal('kind', answer['kind'], 'one of result, status, error');
  }
}

/** What a thrown error is on the wire; of a fault of ours nothing is told but that it was one. */
export function toRefusal(error: unknown): RunnerRefusal {
  if (!(error instanceof AppError))
    return { kind: 'error', code: 'internal', detail: 'The runner failed; its log has the reason' };
  const { code, message, field, details, retryAfterMs } = error;
  return {
    kind: 'error',
    code,
    detail: message,
    ...(field === undefined ? {} : { field }),
    ...(Object.keys(details).length === 0 ? {} : { details }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  };
}

/** The error that the runner threw. */
export function fromRefusal({ code, detail, field, details, retryAfterMs }: RunnerRefusal): AppError {
  return new AppError(code, detail, {
    ...(field === undefined ? {} : { field }),
    ...(details === undefined ? {} : { details }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

/** A step as it is written down or told. Throws `bad-request` naming the field. */
function readStep(value: unknown): Step {
  const { kind } = objectOf(value, 'step');
  switch (kind) {
    case 'check': {
      const { check } = members(value, 'step', ['kind', 'check']);
      return { kind, check: readText(check, 'step/check', limits.nameLengthMax) };
    }
    case 'detector':
    case 'unit': {
      const { component } = members(value, 'step', ['kind', 'component']);
      return { kind, component: readText(component, 'step/component', limits.nameLengthMax) };
    }
    case 'rpm': {
      members(value, 'step', ['kind']);
      return { kind };
    }
    case 'placement': {
      const { target, service, command } = members(value, 'step', ['kind', 'target', 'service', 'command']);
      const { body, signature } = members(target, 'step/target', ['body', 'signature']);
      if (command !== 'fetch' && command !== 'apply' && command !== 'info')
        throw refusal('step/command', command, 'one of fetch, apply, info');
      return {
        kind,
        target: {
          body: readText(body, 'step/target/body', limits.runnerLineBytes),
          signature: readText(signature, 'step/target/signature', signatureLengthMax),
        },
        service: readText(service, 'step/service', limits.nameLengthMax),
        command,
      };
    }
    case 'notify': {
      const { sink, input } = members(value, 'step', ['kind', 'sink', 'input']);
      const text = readText(input, 'step/input', limits.notifyInputBytes, 0);
      // A character may have four bytes.
      if (Buffer.byteLength(text) > limits.notifyInputBytes)
        throw refusal('step/input', undefined, `a text of at most ${limits.notifyInputBytes} bytes`);
      return { kind, sink: readText(sink, 'step/sink', limits.nameLengthMax), input: text };
    }
    default:
      throw refusal('step/kind', kind, 'one of check, detector, unit, rpm, placement, notify');
  }
}

const signatureLengthMax = 512;

/** A result as it is told, or as a record keeps it. Throws `bad-request` naming the field. */
export function readResult(value: unknown): StepResult {
  const result = objectOf(value, 'result');
  for (const name of ['startedAtMs', 'durationMs', 'droppedBytes'] as const)
    if (!Number.isFinite(result[name])) throw refusal(`result/${name}`, result[name], 'a number');
  for (const name of ['stdout', 'stderr'] as const)
    readText(result[name], `result/${name}`, limits.runnerLineBytes, 0);
  if (typeof result['adopted'] !== 'boolean')
    throw refusal('result/adopted', result['adopted'], 'true or false');
  return { ...(result as unknown as StepResult), end: readEnd(result['end']) };
}

function readEnd(value: unknown): StepEnd {
  const { kind, detail, exitCode, signal } = objectOf(value, 'result/end');
  switch (kind) {
    case 'passed':
    case 'failed':
    case 'lost':
      return { kind, detail: readText(detail, 'result/end/detail', limits.runnerLineBytes, 0) };
    case 'exited':
      return { kind, exitCode: readCount(exitCode, 'result/end/exitCode') };
    case 'signalled':
      return { kind, signal: readText(signal, 'result/end/signal', 32) };
    case 'timed-out':
    case 'cancelled':
    case 'out-of-memory':
      return { kind };
    default:
      throw refusal('result/end/kind', kind, 'an end of a step');
  }
}

function readKey(value: unknown, path: string): TrustKey {
  const { key, publicKey } = members(value, path, ['key', 'publicKey']);
  return { key: readText(key, `${path}/key`, 128), publicKey: readText(publicKey, `${path}/publicKey`, 128) };
}

type Members = Readonly<Record<string, unknown>>;

function objectOf(value: unknown, path: string): Members {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Members;
  throw refusal(path, value, 'an object');
}

/** The members of an object that has these at most. */
function members(value: unknown, path: string, known: readonly string[]): Members {
  const object = objectOf(value, path);
  const unknown = Object.keys(object).find((key) => !known.includes(key));
  if (unknown === undefined) return object;
  const field = `${path === '' ? '' : `${path}/`}${unknown.slice(0, 80)}`;
  throw new AppError(
    'bad-request',
    `Cannot read the message: ${JSON.stringify(field)} is unknown, expected ${known.join(', ')}`,
    { field },
  );
}

function listOf(value: unknown, path: string, max: number): readonly unknown[] {
  if (Array.isArray(value) && value.length >= 1 && value.length <= max) return value;
  throw refusal(path, value, `a list of 1 to ${max}`);
}

function readText(value: unknown, path: string, lengthMax: number, lengthMin = 1): string {
  if (typeof value === 'string' && value.length >= lengthMin && value.length <= lengthMax) return value;
  throw refusal(path, value, `a text of ${lengthMin} to ${lengthMax} characters`);
}

function readCount(value: unknown, path: string): number {
  if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number;
  throw refusal(path, value, 'a whole number from 0 on');
}

function refusal(path: string, value: unknown, wish: string): AppError {
  const shown =
    typeof value === 'string'
      ? JSON.stringify(value.slice(0, 80))
      : typeof value === 'object' && value !== null
        ? 'something else'
        : String(value);
  return new AppError(
    'bad-request',
    `Cannot read the message: ${path === '' ? 'it' : path} is ${shown}, expected ${wish}`,
    path === '' ? {} : { field: path },
  );
}
