/** Whoever is known and may not is noted in the audit. */
import type { Logger } from '../base/log.ts';
import type { Caller } from '../domain/access.ts';
import { AppError, isAppError } from '../domain/error.ts';
import type { AuditService } from '../domain/services.ts';
import { type Access, authorise } from './auth.ts';
import type { Operation } from './operation.ts';
import { pathOf } from './routes.ts';

/** What is asked of whom. */
export interface Asked {
  readonly allowed: Access;
  readonly found: Caller | null;
  /** The parameter `:host`; see `authorise`. */
  readonly own: string | undefined;
  readonly operation: Pick<Operation, 'id' | 'scoped'>;
  /** Of the request; its path is told. */
  readonly url: string | undefined;
}

/** Of a path, in the audit. */
const pathToldMax = 200;

/** As `authorise`; a refusal of a known caller is noted, and nobody waits for that. */
export function authoriseNoted(
  asked: Asked,
  to: { audit: AuditService | undefined; logger: Logger },
): Caller {
  const { allowed, found, own, operation, url = '' } = asked;
  try {
    const caller = authorise(allowed, found, own);
    if (caller.scope !== undefined && !operation.scoped) {
      throw new AppError(
        'forbidden',
        `Cannot do this as ${caller.subject}: its token is limited to some hosts or apps, and this concerns more`,
      );
    }
    return caller;
  } catch (error) {
    if (found !== null && isAppError(error, 'forbidden')) {
      to.audit?.refused(found, operation.id, pathOf(url).slice(0, pathToldMax)).catch((err: unknown) => {
        to.logger.warn(
          { err, subject: found.subject, operation: operation.id },
          'a refusal could not be audited',
        );
      });
    }
    throw error;
  }
}
