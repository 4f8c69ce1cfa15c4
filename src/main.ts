/** argv → command. The only signal handlers, and the only process.exit. */
import { runProcess } from './cli/process.ts';

/** Ctrl-C under npm arrives twice, from the terminal and from npm: only a third signal means impatience. */
const signalsMax = 2;

function stopSignal(): AbortSignal {
  const stop = new AbortController();
  let count = 0;
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      count += 1;
      if (count > signalsMax) process.exit(1);
      stop.abort(new Error(`got ${signal}`));
    });
  }
  return stop.signal;
}

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // `holdfast watch | head -1`: nobody reads any more.
  process.exit(error.code === 'EPIPE' ? 0 : 1);
});

/** Whoever reads through a socket has the rest still to come, and an exit would cut it off. Until a signal comes. */
async function isRead(output: NodeJS.WriteStream, stop: AbortSignal): Promise<void> {
  if (stop.aborted || output.writableLength === 0) return;
  await new Promise<void>((resolve) => {
    stop.addEventListener('abort', () => resolve(), { once: true });
    output.write('', () => resolve());
  });
}

const stop = stopSignal();
runProcess(process.argv.slice(2), stop).then(
  async (code) => {
    await Promise.all([isRead(process.stdout, stop), isRead(process.stderr, stop)]);
    process.exit(code);
  },
  (error: unknown) => {
    process.stderr.write(`holdfast: ${String(error)}\n`);
    process.exit(1);
  },
);
