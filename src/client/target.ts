/** A host's target over the wire. */
import { Type } from 'typebox';
import { paths } from '../wire/paths.ts';
import { type ApiRequest, expectBody } from './request.ts';

/** The answer's own text is what is signed, in its header `Holdfast-Signature`; nothing of it is believed before. */
export const targetRequests = {
  get: (hostId: string) =>
    ({
      method: 'GET',
      path: paths.hostTarget(hostId),
      answer: expectBody(Type.Unknown()),
    }) satisfies ApiRequest,
};
