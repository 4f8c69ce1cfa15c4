/** How much the database holds. */
import { sql } from 'kysely';
import type { Dialect, Statement } from './port.ts';
import { compile } from './query.ts';

/** Bytes of the whole database, without its write-ahead log. Reading it also shows that the database answers. */
export function sizeStatement(dialect: Dialect): Statement<object, { readonly bytes: number }> {
  return compile(dialect, (query) =>
    (dialect === 'sqlite'
      ? sql<{
          bytes: number;
        }>`SELECT page_count * page_size AS bytes FROM pragma_page_count(), pragma_page_size()`
      : sql<{ bytes: number }>`SELECT pg_database_size(current_database()) AS bytes`
    ).compile(query),
  );
}
