/** The registry's trust over the wire. */
import type { Rotation } from '../domain/trust.ts';
import { paths } from '../wire/paths.ts';
import { TrustSchema } from '../wire/trust.ts';
import { type ApiRequest, expectBody } from './request.ts';

export const trustRequests = {
  get: () => ({ method: 'GET', path: paths.trust, answer: expectBody(TrustSchema) }) satisfies ApiRequest,
  /** Not repeated: each time is one more rotation, and after two a host that heard of none is lost. */
  rotate: (what: Rotation, { force }: { force: boolean }) =>
    ({
      method: 'POST',
      path: paths.trustRotate,
      body: force ? { what, force } : { what },
      answer: expectBody(TrustSchema),
    }) satisfies ApiRequest,
};
