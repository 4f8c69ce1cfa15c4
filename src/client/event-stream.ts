/** One watch as server-sent events (WHATWG HTML §9.2): the same messages, for where no WebSocket gets through. */
import type { Cancel } from '../base/clock.ts';
import type { Selection } from '../domain/event.ts';
import { paths } from '../wire/paths.ts';
import { answerBytesMax } from './connection.ts';
import { LinkError } from './link.ts';
import type { Query } from './request.ts';
import {
  readWatchMessage,
  silenceMaxMs,
  silent,
  type WatchStart,
  type WatchTransport,
} from './watch-transport.ts';

/** As every `WatchTransport`; `unsupported` when the selection cannot be said in a query (regions of services). */
export const eventStreamMessages: WatchTransport = async function* (connection, start, options) {
  const { clock, label } = connection;
  const stop = new AbortController();
  let cancelSilence: Cancel | undefined;
  const listen = () => {
    cancelSilence?.();
    cancelSilence = clock.after(silenceMaxMs, () => stop.abort(silent(label)));
  };
  const signal = options.signal === undefined ? stop.signal : AbortSignal.any([options.signal, stop.signal]);
  try {
    const query = queryOf(start);
    const { mediaType, body } = await connection.open(paths.events, {
      accept: 'text/event-stream',
      query,
      signal,
    });
    if (mediaType !== 'text/event-stream') {
      throw new LinkError('foreign', `Cannot follow ${label}: it answered ${mediaType}, not an event stream`);
    }
    options.onOpen();
    listen();
    for await (const data of eventData(body, { onBytes: listen, label })) {
      const message = readWatchMessage(parse(data, label), label);
      if (message !== undefined) yield message;
    }
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    cancelSilence?.();
    stop.abort(new Error('the watch has ended'));
  }
};

function queryOf({ select, since, snapshot }: WatchStart): Query {
  return {
    ...(since === null ? {} : { since }),
    ...(snapshot ? { snapshot: true } : {}),
    ...(select === undefined ? {} : selectionQuery(select)),
  };
}

function selectionQuery(select: Selection): Query {
  const { types, hosts, apps, services = {} } = select;
  return {
    types,
    hosts,
    apps,
    serviceUuid: services.uuid,
    serviceType: services.type,
    serviceHost: services.host,
    serviceRegion: services.region,
  };
}

/** The `data` of each event. Other fields are the same bodies' positions and are not needed. */
async function* eventData(
  body: AsyncIterable<Uint8Array>,
  { onBytes, label }: { onBytes: () => void; label: string },
): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder();
  let rest = '';
  let data: string[] = [];
  for await (const chunk of body) {
    onBytes();
    const lines = (rest + decoder.decode(chunk, { stream: true })).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop() ?? '';
    if (rest.length > answerBytesMax)
      throw new LinkError('foreign', `Cannot follow ${label}: it sent a line that does not end`);
    for (const line of lines) {
      if (line === '') {
        // An event that the end of the stream cuts off never gets here: it comes again after the resume.
        if (data.length > 0) yield data.join('\n');
        data = [];
      } else if (line.startsWith('data:')) {
        data.push(line.slice(line.startsWith('data: ') ? 6 : 5));
      }
    }
  }
}

function parse(text: string, label: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new LinkError('foreign', `Cannot follow ${label}: it sent an event that is no JSON`, {
      cause: error,
    });
  }
}
