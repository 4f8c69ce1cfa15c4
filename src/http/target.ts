/** A host's target over HTTP: the exact bytes that are signed, and the signature beside them. */
import { AppError } from '../domain/error.ts';
import { signatureHeader } from '../domain/trust.ts';
import { TargetSchema } from '../wire/target.ts';
import { type Answer, jsonType, operation, param } from './operation.ts';

export const getTarget = operation({
  id: 'getTarget',
  scoped: true,
  tag: 'hosts',
  summary:
    'What a host shall hold, signed as its exact bytes in Holdfast-Signature; an agent answers the one that it holds',
  answers: { 200: TargetSchema },
  codes: ['not-found', 'identity-conflict'],
  async handle(call): Promise<Answer> {
    const { targets } = call.services;
    if (targets === undefined)
      throw new AppError('not-found', 'Cannot show the target: this host has no registry that gave it one');
    const { tag, body, signature } = await targets.target(param(call, 'host'));
    return {
      kind: 'text',
      status: 200,
      type: jsonType,
      text: body,
      etag: `"${tag}"`,
      headers: { [signatureHeader.toLowerCase()]: signature },
    };
  },
});
