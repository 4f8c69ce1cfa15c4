/** Asks the store something, and how much it holds: for `/healthz`, whoever keeps an eye on it. */
import type { Clock } from '../base/clock.ts';
import { AppError } from '../domain/error.ts';
import { formatPosition } from '../domain/event.ts';
import type { StoreStats } from '../http/operation.ts';
import type { OpenStore } from '../store/engine/core.ts';
import { sizeStatement } from '../store/engine/size.ts';

/** A store that takes longer does not answer, as far as whoever looks at it is concerned. */
const answerMsMax = 2_000;

/** Rejects with `unavailable` when the store does not answer in `answerMsMax`, and with what it says when it cannot. */
export function storeProbe(store: OpenStore, clock: Clock): () => Promise<StoreStats> {
  const size = sizeStatement(store.dialect);
  return async () => {
    const startedMs = clock.monotonic();
    const late = Promise.withResolvers<never>();
    const cancel = clock.after(answerMsMax, () =>
      late.reject(
        new AppError(
          'unavailable',
          `the store has not answered for ${answerMsMax / 1_000} s; look at its log`,
        ),
      ),
    );
    try {
      const row = await Promise.race([store.read((session) => session.get(size, {})), late.promise]);
      return {
        dialect: store.dialect,
        leader: store.leader(),
        position: formatPosition(store.log.head()),
        writesWaiting: store.health().waiting,
        sizeBytes: Number(row?.bytes),
        answerMs: Math.round((clock.monotonic() - startedMs) * 1_000) / 1_000,
      };
    } finally {
      cancel();
    }
  };
}
