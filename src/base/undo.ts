/** What was built, to be undone in reverse: when a later step fails, or at the end. */

export class Undo {
  readonly #steps: { readonly name: string; readonly undo: () => unknown }[] = [];

  /** Adds a step; `undo` may return a promise. */
  add(name: string, undo: () => unknown): void {
    this.#steps.push({ name, undo });
  }

  /** Runs every step once, last first, also when some fail; then throws what failed. */
  async run(): Promise<void> {
    const failures: unknown[] = [];
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        await step.undo();
      } catch (error) {
        failures.push(new Error(`Cannot undo ${step.name}`, { cause: error }));
      }
    }
    if (failures.length === 1) throw failures[0];
    if (failures.length > 1) throw new AggregateError(failures, 'Several parts could not be closed');
  }

  /** Builds with `build`; when that throws, undoes what it has added before the error goes on. */
  static async building<T>(build: (undo: Undo) => Promise<T>): Promise<T> {
    const undo = new Undo();
    try {
      return await build(undo);
    } catch (error) {
      await undo.run();
      throw error;
    }
  }
}
