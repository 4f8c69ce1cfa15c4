/** A watch as a test reads it: opened, then asked for what came. */
import assert from 'node:assert/strict';
import type { HoldfastClient } from '../../src/client/client.ts';
import type { WatchOptions, WatchUpdate } from '../../src/client/watch.ts';
import type { ChangeEvent } from '../../src/domain/event.ts';

export interface Followed {
  /** Everything delivered so far. */
  readonly updates: readonly WatchUpdate[];
  events(): ChangeEvent[];
  /** Resolves when `enough` says so; fails with what came instead. */
  until(enough: (followed: Followed) => boolean, withinMs?: number): Promise<Followed>;
  /** `until` there are as many events. */
  count(events: number): Promise<ChangeEvent[]>;
  stop(): Promise<void>;
}

/** Resolves when the server has said where the watch begins, so that nothing after this call is missed. */
export async function follow(client: HoldfastClient, options: WatchOptions = {}): Promise<Followed> {
  const abort = new AbortController();
  const updates: WatchUpdate[] = [];
  const looks = new Set<() => void>();
  let failure: unknown;
  const reading = (async () => {
    try {
      for await (const update of client.watch({ ...options, signal: abort.signal })) {
        updates.push(update);
        for (const look of looks) look();
      }
    } catch (error) {
      if (!abort.signal.aborted) failure = error;
    }
    for (const look of looks) look();
  })();
  const followed: Followed = {
    updates,
    events: () => updates.flatMap((update) => (update.kind === 'events' ? update.events : [])),
    until: (enough, withinMs = 10_000) =>
      new Promise((resolve, reject) => {
        const done = (settle: () => void) => {
          clearTimeout(timer);
          looks.delete(look);
          settle();
        };
        const look = () => {
          if (enough(followed)) done(() => resolve(followed));
          else if (failure !== undefined) done(() => reject(failure));
        };
        const timer = setTimeout(
          () =>
            done(() =>
              reject(
                new assert.AssertionError({
                  message: `not within ${withinMs} ms; came: ${JSON.stringify(updates)}`,
                }),
              ),
            ),
          withinMs,
        );
        looks.add(look);
        look();
      }),
    async count(events) {
      await followed.until(() => followed.events().length >= events);
      return followed.events();
    },
    async stop() {
      abort.abort(new Error('enough seen'));
      await reading;
    },
  };
  await followed.until(() => updates.length > 0);
  return followed;
}

/** `service.registered UP` */
export function told({ type, body }: ChangeEvent): string {
  const { status } = body as { status?: string };
  return status === undefined ? type : `${type} ${status}`;
}
