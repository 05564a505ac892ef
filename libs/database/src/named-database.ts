/** A database that whoever starts a program has named in DATABASE_URL: what is wrong with it is said by the variable's name. */
import { IronflowError, messageOf } from '@ironflow/errors';
import { codeOf } from './database-error.js';

export function requireDatabaseUrl(text: string): string {
  if (/^postgres(ql)?:\/\//.test(text) && URL.canParse(text)) return text;
  throw new IronflowError('invalid', 'config_invalid', 'DATABASE_URL: must be a postgresql:// URL');
}

/** Says which server refused and why; of the URL only what is no secret. */
export function describeDatabaseError(url: string, thrown: unknown): IronflowError {
  const { hostname, port, pathname } = new URL(url);
  const where = `${hostname}:${port === '' ? 5432 : port}${pathname}`;
  const cause: unknown = thrown instanceof Error ? (thrown.cause ?? thrown) : thrown;
  // Both addresses of a name may have failed; the first one's code tells as much.
  const code = codeOf(cause instanceof AggregateError ? cause.errors[0] : cause);
  const why = `${messageOf(thrown)}${code === undefined ? '' : ` (${code})`}`;
  const category = thrown instanceof IronflowError ? thrown.category : 'unavailable';
  const ownCode = thrown instanceof IronflowError ? thrown.code : 'database_refused';
  return new IronflowError(category, ownCode, `DATABASE_URL, ${where}: ${why}`, { cause: thrown });
}
