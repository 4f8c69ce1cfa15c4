/** What hosts believe this registry by, over HTTP. */
import type { TrustService } from '../domain/services.ts';
import { RotateBody, TrustSchema } from '../wire/trust.ts';
import { type HttpServices, ok, operation } from './operation.ts';

const tag = 'trust';

/** For everyone: a host asks before it believes anything, and compares with what its join token says. */
export const getTrust = operation({
  id: 'getTrust',
  tag,
  summary: 'What hosts believe this registry by: signing keys and own CA, each the current and the next one',
  answers: { 200: TrustSchema },
  handle: ({ services }) => ok(trustOf(services).trust()),
});

export const rotateTrust = operation({
  id: 'rotateTrust',
  requestClass: 'admin',
  tag,
  summary: 'Replace the signing key or the CA by the one that was announced, or the certificate by another',
  body: RotateBody,
  answers: { 200: TrustSchema },
  codes: ['unprocessable', 'conflict', 'storage-full'],
  async handle({ services, caller, body }) {
    return ok(await trustOf(services).rotate(caller, body.what, { force: body.force ?? false }));
  },
});

function trustOf({ trust }: HttpServices): TrustService {
  if (trust === undefined) throw new Error('a registry route was reached on a server without a TrustService');
  return trust;
}
