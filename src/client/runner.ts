/** The runner over its socket. Connects when it is asked something, and again when the connection broke. */
import { createConnection, type Socket } from 'node:net';
import { limits } from '../base/limits.ts';
import { AppError } from '../domain/error.ts';
import type { RunnerService } from '../domain/services.ts';
import type { Step, StepResult } from '../domain/step.ts';
import type { TrustKey } from '../domain/trust.ts';
import { LineReader } from '../wire/lines.ts';
import {
  decodeLine,
  encodeLine,
  fromRefusal,
  type RunnerAnswer,
  type RunnerRequest,
  type RunnerStatus,
  readAnswer,
} from '../wire/runner.ts';

export interface RunnerClientOptions {
  /** The file `runner.sock`. */
  readonly socket: string;
  /** The registry's clock, as far as it is known; targets are judged by it. */
  readonly registryNowMs?: () => number | null;
  /** A connection that there was has ended, and not by `close`. */
  readonly onBroken?: () => void;
}

interface Link {
  readonly socket: Socket;
  readonly ready: Promise<void>;
}

/** Every call throws `unavailable` ("no runner …") when nobody listens, and when the connection breaks meanwhile. */
export class RunnerClient implements RunnerService {
  readonly #options: RunnerClientOptions;
  readonly #open = new Map<string, PromiseWithResolvers<RunnerAnswer>>();
  #link: Link | null = null;
  #isConnected = false;
  #lastId = 0;

  constructor(options: RunnerClientOptions) {
    this.#options = options;
  }

  /** Whether there is a connection now; without a question nobody looks. */
  get isConnected(): boolean {
    return this.#isConnected;
  }

  async run(step: Step, { signal }: { readonly signal: AbortSignal }): Promise<StepResult> {
    const registryNowMs = this.#options.registryNowMs?.() ?? null;
    const answer = await this.#ask({ op: 'run', step, registryNowMs }, signal);
    if (answer.kind !== 'result') throw this.#foreign();
    return answer.result;
  }

  async status(options: { readonly signal?: AbortSignal } = {}): Promise<RunnerStatus> {
    const answer = await this.#ask({ op: 'status' }, options.signal);
    if (answer.kind !== 'status') throw this.#foreign();
    return answer.status;
  }

  /** Names whose targets the runner is to believe, once. `forbidden` when it believes another registry already. */
  async trust(
    hostId: string,
    keys: readonly TrustKey[],
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<RunnerStatus> {
    const answer = await this.#ask({ op: 'trust', hostId, keys }, options.signal);
    if (answer.kind !== 'status') throw this.#foreign();
    return answer.status;
  }

  /** Ends the connection; what is open is `unavailable`. It connects again when it is asked again. */
  close(): void {
    this.#link?.socket.destroy();
    this.#broken('the connection was closed');
  }

  async #ask(request: RunnerRequest, signal?: AbortSignal): Promise<RunnerAnswer> {
    signal?.throwIfAborted();
    this.#lastId += 1;
    const id = String(this.#lastId);
    const line = encodeLine(id, request);
    // The runner would pass over it, and not know whose it was.
    if (Buffer.byteLength(line) > limits.runnerLineBytes)
      throw new AppError(
        'too-large',
        `Cannot ask the runner: the question is larger than ${limits.runnerLineBytes} bytes`,
      );
    const link = this.#connected();
    await link.ready;
    signal?.throwIfAborted();
    if (this.#link !== link) throw this.#broke('the connection was closed');
    const waiting = Promise.withResolvers<RunnerAnswer>();
    const onAbort = () => {
      waiting.reject(signal?.reason);
      link.socket.write(encodeLine(id, { op: 'cancel' }));
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    this.#open.set(id, waiting);
    try {
      link.socket.write(line);
      const answer = await waiting.promise;
      if (answer.kind === 'error') throw fromRefusal(answer);
      return answer;
    } finally {
      this.#open.delete(id);
      signal?.removeEventListener('abort', onAbort);
    }
  }

  #connected(): Link {
    if (this.#link !== null) return this.#link;
    const socket = createConnection(this.#options.socket);
    const ready = new Promise<void>((resolve, reject) => {
      socket.once('connect', () => {
        this.#isConnected = true;
        resolve();
      });
      socket.once('close', () => reject(this.#broke('the connection was closed')));
      socket.on('error', (error: NodeJS.ErrnoException) => reject(this.#unreachable(error)));
    });
    const link = { socket, ready };
    socket.once('close', () => {
      if (this.#link !== link) return;
      const wasConnected = this.#isConnected;
      this.#broken('the connection broke before the answer');
      if (wasConnected) this.#options.onBroken?.();
    });
    const failed = (why: string) => {
      socket.destroy();
      if (this.#link === link) this.#broken(`what answers there is no runner (${why})`);
    };
    const reader = new LineReader({
      bytesMax: limits.runnerLineBytes,
      onLine: (line) => {
        try {
          const { id, body } = decodeLine(line);
          this.#open.get(id)?.resolve(readAnswer(body));
        } catch (error) {
          failed((error as Error).message);
        }
      },
      onTooLong: () => failed('its line is too long'),
    });
    socket.on('data', (chunk) => reader.push(chunk));
    this.#link = link;
    return link;
  }

  #broken(why: string): void {
    this.#link = null;
    this.#isConnected = false;
    for (const { reject } of this.#open.values()) reject(this.#broke(why));
  }

  #broke(why: string): AppError {
    return new AppError('unavailable', `Cannot ask the runner at ${this.#options.socket}: ${why}`);
  }

  #unreachable(error: NodeJS.ErrnoException): AppError {
    const { socket } = this.#options;
    const why = reasons[error.code ?? ''] ?? error.message;
    return new AppError('unavailable', `Cannot run a step: no runner at ${socket}, ${why}`, { cause: error });
  }

  #foreign(): AppError {
    return new AppError(
      'internal',
      `Cannot use the answer of ${this.#options.socket}: it is to another question`,
    );
  }
}

const reasons: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such socket; "systemctl start holdfast-runner" starts one, or "holdfast runner"',
  ECONNREFUSED:
    'nobody listens there any more; "systemctl start holdfast-runner" starts one, or "holdfast runner"',
  EACCES: 'permission denied; the runner gives its socket to the user that its --agent-user names',
  ENOTSOCK: 'that file is no socket',
};
