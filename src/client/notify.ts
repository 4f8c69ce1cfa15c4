/** Rules and sinks over the wire. */
import type { NotifyService } from '../domain/services.ts';
import { NotifySchema, NotifyTestSchema, readNotifyView } from '../wire/notify.ts';
import { paths } from '../wire/paths.ts';
import type { Connection } from './connection.ts';
import { type ApiRequest, expectBody } from './request.ts';

export const notifyRequests = {
  status: () =>
    ({ method: 'GET', path: paths.notify, answer: expectBody(NotifySchema) }) satisfies ApiRequest,
  /** Not retried: each one is a message that somebody reads. */
  test: (sinks: readonly string[] | null) =>
    ({
      method: 'POST',
      path: paths.notifyTest,
      body: sinks === null ? {} : { sinks },
      answer: expectBody(NotifyTestSchema),
    }) satisfies ApiRequest,
};

/** The `caller` argument is ignored: the server establishes who calls from the connection's credential. */
export function createNotify(connection: Connection): NotifyService {
  return {
    status: async () => readNotifyView((await connection.call(notifyRequests.status())).document),
    test: async (_caller, sinks) => (await connection.call(notifyRequests.test(sinks))).document.items,
  };
}
