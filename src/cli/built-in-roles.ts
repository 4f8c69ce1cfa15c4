/** The roles that this binary has, each loaded when it starts. */
import { AppError } from '../domain/error.ts';
import type { Roles } from './roles.ts';

export const builtInRoles: Roles = {
  startRegistry: async () => missing('registry'),
  startAgent: async () => missing('agent'),
  restore: async () => missing('restore'),
};

function missing(what: string): never {
  throw new AppError('internal', `Cannot start: this build has no ${what}`);
}
