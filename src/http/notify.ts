/** Sinks and rules over HTTP. Sinks are named, never given: no caller says where the registry sends anything. */
import type { NotifyService } from '../domain/services.ts';
import { NotifySchema, NotifyTestBody, NotifyTestSchema, notifyDocument } from '../wire/notify.ts';
import { type HttpServices, ok, operation } from './operation.ts';

const tag = 'notify';

export const getNotify = operation({
  id: 'getNotify',
  tag,
  summary: 'Rules and sinks of this registry, and how far each sink has been told',
  answers: { 200: NotifySchema },
  async handle({ services }) {
    return ok(notifyDocument(await notifyOf(services).status()));
  },
});

export const testNotify = operation({
  id: 'testNotify',
  requestClass: 'admin',
  tag,
  summary: 'Send sinks a message that says that it is a test, and tell what they answer',
  body: NotifyTestBody,
  answers: { 200: NotifyTestSchema },
  codes: ['not-found'],
  async handle({ services, caller, body }) {
    return ok({ items: await notifyOf(services).test(caller, body.sinks ?? null) });
  },
});

function notifyOf({ notify }: HttpServices): NotifyService {
  if (notify === undefined) throw new Error('a server has a route of sinks and no NotifyService');
  return notify;
}
