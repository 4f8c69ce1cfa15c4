/**
 * Watch fan-out: commit → the event at the watcher, over real sockets; the watchers are in a process of their own.
 * `node test/http/bench-watch.ts [watchers] [events per second] [seconds]`
 */
import { fork } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { WebSocket } from 'ws';
import { startServer, tokenOf } from './fakes.ts';

const watchers = Number(process.argv[2] ?? 1_000);
const perSecond = Number(process.argv[3] ?? 100);
const seconds = Number(process.argv[4] ?? 5);

if (process.argv[2] === 'listen') await listen(process.argv[3] ?? '', Number(process.argv[4]));
else await measure();

async function listen(url: string, count: number): Promise<void> {
  const delaysMs: number[] = [];
  let ready = 0;
  for (let i = 0; i < count; i += 1) {
    const socket = new WebSocket(`${url.replace('http', 'ws')}/v1/watch`, ['holdfast.v1'], {
      headers: { authorization: `Bearer ${tokenOf('viewer')}` },
    });
    socket.on('open', () =>
      socket.send('{"v":1,"id":"w","mimetype":"application/json","body":{"op":"watch"}}'),
    );
    socket.on('message', (data: Buffer) => {
      const now = performance.timeOrigin + performance.now();
      const text = data.toString('latin1');
      if (text.includes('"progress"')) {
        ready += 1;
        if (ready === count) process.send?.('ready');
      }
      for (const [, sent] of text.matchAll(/"sentAt":([\d.]+)/g)) delaysMs.push(now - Number(sent));
    });
  }
  process.on('message', () => {
    delaysMs.sort((a, b) => a - b);
    const at = (share: number) => delaysMs[Math.floor(delaysMs.length * share)]?.toFixed(2);
    process.send?.(
      `${delaysMs.length} deliveries, p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, worst ${delaysMs.at(-1)?.toFixed(2)} ms`,
    );
  });
}

async function measure(): Promise<void> {
  const { url, log, server } = await startServer({ after: () => undefined });
  const child = fork(import.meta.filename, ['listen', url, String(watchers)]);
  await new Promise((resolve) => child.once('message', resolve));
  const rssMB = process.memoryUsage.rss() / 1e6;
  const before = cpuMs();
  for (let i = 0; i < perSecond * seconds; i += 1) {
    log.append([
      {
        type: 'service.set',
        host: 'edge-1',
        service: 'web',
        body: { sentAt: performance.timeOrigin + performance.now(), text: 'x'.repeat(200) },
      },
    ]);
    await new Promise((resolve) => setTimeout(resolve, 1_000 / perSecond));
  }
  const spent = cpuMs() - before;
  await new Promise((resolve) => setTimeout(resolve, 500));
  child.send('report');
  const report = await new Promise((resolve) => child.once('message', resolve));
  const deliveries = watchers * perSecond * seconds;
  // biome-ignore lint/suspicious/noConsole: a bench prints
  console.log(
    `${watchers} watchers, ${perSecond}/s: ${report}; server ${((spent * 1_000) / deliveries).toFixed(1)} µs CPU per delivery, RSS ${rssMB.toFixed(0)} MB`,
  );
  child.kill();
  await server.close();
}

function cpuMs(): number {
  const fields = readFileSync('/proc/self/stat', 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10;
}
