/**
 * Serving as the one registry that writes. On SQLite that is this process from the start; on PostgreSQL another one may
 * lead, and this one waits with `/readyz` 503. Whoever begins to lead reads memory anew: it is a restart of liveness.
 */
import type { Logger } from '../base/log.ts';
import { AppError } from '../domain/error.ts';
import type { OpenStore } from '../store/engine/core.ts';

export interface LeadOptions {
  store: OpenStore;
  logger: Logger;
  /** Reads memory anew from the store. */
  load: () => Promise<void>;
}

export class Lead {
  readonly #store: OpenStore;
  readonly #stopListening: () => void;
  #loaded = false;
  #loading: Promise<void> = Promise.resolve();
  /** Rejects when memory could not be read: then this process is of no use and has to be started anew. */
  readonly failed: Promise<never>;

  private constructor({ store, logger, load }: LeadOptions) {
    this.#store = store;
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => undefined);
    this.failed = promise;
    this.#stopListening = store.onLeadership((leading) => {
      this.#loaded = false;
      logger.warn({ leading }, leading ? 'this registry leads now' : 'another registry leads now');
      if (!leading) return;
      this.#loading = this.#loading.then(load).then(() => {
        this.#loaded = true;
      });
      this.#loading.catch(reject);
    });
  }

  /** Waits for what there is to load when this process leads already. */
  static async start(options: LeadOptions): Promise<Lead> {
    const lead = new Lead(options);
    if (options.store.leader()) {
      await options.load();
      lead.#loaded = true;
    }
    return lead;
  }

  /** Whether memory is this store's truth and writes go through. */
  get serving(): boolean {
    return this.#loaded && this.#store.leader();
  }

  /** Throws `unavailable` while another registry leads or memory is being read. */
  admit(): void {
    if (this.#loaded && (this.#store.leader() || this.#store.health().state === 'failed')) return;
    throw new AppError('unavailable', 'Cannot serve: another registry leads this database, ask that one', {
      retryAfterMs: 2_000,
    });
  }

  close(): void {
    this.#stopListening();
  }
}
