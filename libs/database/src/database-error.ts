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

/** A lost or unreachable database becomes `unavailable`; anything else stays what it was. */
export function asDatabaseError(error: unknown): unknown {
  if (error instanceof IronflowError || !isUnreachable(error)) return error;
  return new IronflowError('unavailable', 'database_unavailable', 'the database cannot be reached', {
    retryAfterSeconds: 1,
    cause: error,
  });
}

/**
 * 21 cardinality, 22 data exception, 23 integrity constraint, 54 program limit (such as JSON nested too
 * deep).
 */
const refusedClasses: ReadonlySet<string> = new Set(['21', '22', '23', '54']);

/**
 * Connection exceptions, shutdown, no connection left, a standby that only reads; and what Prisma says for
 * the same.
 */
const unreachableCodes = /^(08...|57P0[1-5]|53300|25006|P1001|P1002|P1008|P1017|P2024|E[A-Z][A-Z_]{2,})$/;

/** The driver gives these no code. */
const unreachableMessages =
  /Connection terminated|timeout exceeded when trying to connect|encountered a connection error|not queryable/;

function isUnreachable(error: unknown): boolean {
  const code = codeOf(error);
  if (code !== undefined && unreachableCodes.test(code)) return true;
  if (error instanceof AggregateError) return error.errors.some(isUnreachable);
  return error instanceof Error && unreachableMessages.test(error.message);
}

function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}
