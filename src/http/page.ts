/** The page that a list's query asks for. */
import { limits } from '../base/limits.ts';
import type { PageRequest } from '../domain/services.ts';

export function pageRequest(query: { limit?: number; cursor?: string }): PageRequest {
  const limit = query.limit ?? limits.listDefaultMax;
  return query.cursor === undefined ? { limit } : { limit, cursor: query.cursor };
}
