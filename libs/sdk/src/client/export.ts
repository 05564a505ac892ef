/** `client.exports`: all that the environment has, for a key of role admin. */
import type { ExportedTable, ExportPage, ExportQuery } from '@ironflow/schema';
import type { Http } from './http.js';

export interface Exports {
  /** A page of one table; each row is JSON text. A page without rows has others behind it as long as it has a `nextCursor`. */
  page(table: ExportedTable, query?: Partial<ExportQuery>): Promise<ExportPage>;
  /** Every row of one table, as JSON text. What comes or changes meanwhile may be in it or not. */
  rows(table: ExportedTable): AsyncIterableIterator<string>;
}

export function createExports(http: Http): Exports {
  const page: Exports['page'] = (table, query = {}) =>
    http.json({ method: 'GET', path: `/v1/export/${table}`, query: { ...query } });
  return {
    page,
    rows: async function* (table) {
      let cursor: string | undefined;
      do {
        const { rows, nextCursor } = await page(table, cursor === undefined ? {} : { cursor });
        yield* rows;
        cursor = nextCursor;
      } while (cursor !== undefined);
    },
  };
}
