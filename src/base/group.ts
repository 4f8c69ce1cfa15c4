/** A group owns promises that nobody awaits: it reports their failures and is drained before the program ends. */

export interface Group {
  /** Takes ownership of `work`. A rejection goes to `onFailure` with the name. */
  own(name: string, work: Promise<unknown>): void;
  /** Resolves when everything owned has settled, also what is added meanwhile. */
  drained(): Promise<void>;
}

export function createGroup(onFailure: (name: string, error: unknown) => void): Group {
  const running = new Set<Promise<void>>();
  return {
    own(name, work) {
      const settled: Promise<void> = work.then(
        () => {
          running.delete(settled);
        },
        (error: unknown) => {
          running.delete(settled);
          onFailure(name, error);
        },
      );
      running.add(settled);
    },
    async drained() {
      while (running.size > 0) await Promise.all(running);
    },
  };
}
