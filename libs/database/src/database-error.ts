/** What an error of PostgreSQL means for its caller: come back later, or the data itself is refused. */
import { IronflowError } from '@ironflow/errors';

/**
 * Whether a statement failed because of what it was given: trying the same again is of no use, so a batch
 * is halved.
 */
export function isRefusedData(error: unknown): boolean {
  const code = codeOf(error);
  return code !== undefined && refusedClasses.has(code.slice(0, 2));
}

/** A database that is lost, unreachable or short of something becomes `unavailable`; anything else stays what it was. */
export function asDatabaseError(error: unknown): unknown {
  if (error instanceof IronflowError || !isUnavailable(error)) return error;
  return new IronflowError('unavailable', 'database_unavailable', 'the database cannot serve this now', {
    retryAfterSeconds: 1,
    cause: error,
  });
}

/** The driver gave up on an answer. Its connection is in the middle of something and good for nothing else. */
export function isUnanswered(error: unknown): boolean {
  if (error instanceof IronflowError) return isUnanswered(error.cause);
  return error instanceof Error && error.message === 'Query read timeout';
}

/** SQLSTATE, or the code of Node or Prisma. */
export function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/**
 * 21 cardinality, 22 data exception, 23 integrity constraint, 54 program limit (such as JSON nested too
 * deep).
 */
const refusedClasses: ReadonlySet<string> = new Set(['21', '22', '23', '54']);

/**
 * Connection exceptions, insufficient resources (a full disk, no memory, no connection left), shutdown; a statement that
 * took too long, a lock that did, a deadlock; a standby that only reads.
 */
const unavailableStates = /^(08...|53...|57P0[1-5]|57014|55P03|40P01|40001|25006)$/;

/** What Node and Prisma say when nobody answers. */
const unavailableCodes: ReadonlySet<string> = new Set([
  ...['ECONNREFUSED', 'ECONNRESET', 'ECONNABORTED', 'EPIPE', 'ETIMEDOUT', 'ENOTFOUND', 'EAI_AGAIN', 'ENOENT'],
  ...['EHOSTUNREACH', 'EHOSTDOWN', 'ENETUNREACH', 'ENETDOWN', 'EADDRNOTAVAIL', 'EMFILE', 'ENFILE'],
  ...['P1001', 'P1002', 'P1008', 'P1017', 'P2024'],
]);

/** Of the driver itself, which gives them no code; what PostgreSQL says may be in any language. */
const driverMessages =
  /^(Connection terminated|timeout (exceeded|expired)|Client (has encountered|was closed)|Query read timeout)/;

function isUnavailable(error: unknown): boolean {
  const code = codeOf(error);
  if (code !== undefined && (unavailableStates.test(code) || unavailableCodes.has(code))) return true;
  if (error instanceof AggregateError) return error.errors.some(isUnavailable);
  return error instanceof Error && code === undefined && driverMessages.test(error.message);
}
