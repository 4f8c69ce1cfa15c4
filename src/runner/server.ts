/**
 * The runner's socket: questions in, answers out, one line each. Whoever can open the file may ask; what is asked is
 * judged by the steps. Nothing that comes in ends more than its own connection.
 */
import { createServer, type Socket } from 'node:net';
import type { Clock } from '../base/clock.ts';
import { createGroup } from '../base/group.ts';
import { limits } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import { AppError } from '../domain/error.ts';
import { LineReader } from '../wire/lines.ts';
import {
  decodeLine,
  encodeLine,
  type RunnerAnswer,
  type RunnerRequest,
  readRequest,
  toRefusal,
} from '../wire/runner.ts';
import { bindSocketFile, type SocketFile } from '../wire/socket-file.ts';

export interface RunnerServerOptions {
  readonly socket: SocketFile;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Answers a question; `signal` is aborted when it is taken back, or whoever asked is gone. */
  readonly handle: (request: Question, options: { readonly signal: AbortSignal }) => Promise<Handled>;
}

/** All but `cancel`, which is the connection's own. */
export type Question = Exclude<RunnerRequest, { op: 'cancel' }>;

export interface Handled {
  readonly answer: RunnerAnswer;
  /** Called when the system has taken the answer. */
  readonly taken?: () => void;
}

export interface RunnerServer {
  /** Takes no more connections, aborts the questions that are open, and removes the socket. */
  close(): Promise<void>;
}

/** `conflict` where somebody listens already, `bad-request` for a place that cannot be. */
export async function listenForSteps(options: RunnerServerOptions): Promise<RunnerServer> {
  const { logger } = options;
  const connections = new Set<Connection>();
  // An answer may still be on its way to somebody who has said all that there is to say.
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    if (connections.size >= limits.runnerConnectionsMax) {
      socket.destroy();
      return;
    }
    const connection = new Connection(socket, options);
    connections.add(connection);
    socket.once('close', () => connections.delete(connection));
  });
  server.on('error', (error) => logger.error({ err: error }, 'runner socket failed'));
  const { release } = await bindSocketFile(server, options.socket);
  return {
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      await Promise.all([...connections].map((connection) => connection.close()));
      await closed;
      await release();
    },
  };
}

/** How long, when the runner stops, somebody who does not read has for what was answered. */
const flushMs = 1_000;

class Connection {
  readonly #socket: Socket;
  readonly #options: RunnerServerOptions;
  /** Open questions by id. */
  readonly #questions = new Map<string, AbortController>();
  readonly #work = createGroup((_name, error) =>
    this.#options.logger.error({ err: error }, 'a question of the runner failed'),
  );
  #ended = false;

  constructor(socket: Socket, options: RunnerServerOptions) {
    this.#socket = socket;
    this.#options = options;
    const reader = new LineReader({
      bytesMax: limits.runnerLineBytes,
      onLine: (line) => this.#line(line),
      onTooLong: () =>
        this.#refuse(
          '',
          new AppError(
            'too-large',
            `Cannot read the message: a line has at most ${limits.runnerLineBytes} bytes`,
          ),
        ),
    });
    socket.on('data', (chunk) => reader.push(chunk));
    // Whoever asks without reading waits: what is not taken is bounded by what was asked before.
    socket.on('drain', () => socket.resume());
    socket.on('end', () => {
      this.#ended = true;
      this.#endWhenDone();
    });
    socket.on('error', (error) => options.logger.debug({ err: error }, 'a connection of the runner broke'));
    socket.on('close', () => this.#abortAll(new Error('whoever asked is gone')));
  }

  /** Aborts what is open and answers it, and ends the connection. */
  async close(): Promise<void> {
    this.#abortAll(
      new AppError('unavailable', 'Cannot run the step: the runner stops; ask again in a moment'),
    );
    await this.#work.drained();
    const socket = this.#socket;
    if (socket.destroyed) return;
    const gone = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    socket.destroySoon();
    const cancel = this.#options.clock.after(flushMs, () => socket.destroy());
    await gone;
    cancel();
  }

  #line(line: Uint8Array): void {
    let id = '';
    let request: RunnerRequest;
    try {
      const decoded = decodeLine(line);
      id = decoded.id;
      request = readRequest(decoded.body);
      if (request.op === 'cancel') {
        this.#questions.get(id)?.abort(takenBack);
        return;
      }
      if (this.#questions.has(id))
        throw new AppError('conflict', `Cannot answer: a question "${id}" is open already`, { field: 'id' });
      if (this.#questions.size >= limits.runnerQuestionsMax)
        throw new AppError(
          'rate-limited',
          `Cannot answer: ${limits.runnerQuestionsMax} questions of this connection are open`,
          { retryAfterMs: 1_000 },
        );
    } catch (error) {
      this.#refuse(id, error);
      return;
    }
    this.#work.own(request.op, this.#answer(id, request));
  }

  async #answer(id: string, request: Question): Promise<void> {
    const asked = new AbortController();
    this.#questions.set(id, asked);
    const { signal } = asked;
    try {
      const { answer, taken } = await this.#options.handle(request, { signal });
      // Also while the runner stops: this is how it ended.
      if (signal.reason !== takenBack) this.#send(id, answer, taken);
    } catch (error) {
      if (signal.reason !== takenBack && this.#socket.writable) this.#refuse(id, error);
    } finally {
      this.#questions.delete(id);
      this.#endWhenDone();
    }
  }

  #refuse(id: string, error: unknown): void {
    const { logger } = this.#options;
    if (!(error instanceof AppError)) logger.error({ err: error }, 'the runner failed at a question');
    this.#send(id, toRefusal(error));
  }

  #send(id: string, answer: RunnerAnswer, taken?: () => void): void {
    if (!this.#socket.writable) return;
    const line = encodeLine(id, answer);
    const isEmpty = this.#socket.write(line, (error) => {
      if (error === undefined || error === null) taken?.();
    });
    if (!isEmpty) this.#socket.pause();
  }

  #abortAll(reason: Error): void {
    for (const asked of this.#questions.values()) asked.abort(reason);
  }

  /** A client that has half-closed its connection gets what it has asked for, and then the other half. */
  #endWhenDone(): void {
    if (this.#ended && this.#questions.size === 0) this.#socket.end();
  }
}

const takenBack = new Error('the question was taken back');
