/** What steps ask of the platform themselves: as the function's own key, and keyed so that asking twice does it once. */
import { createHash } from 'node:crypto';
import { IronflowApiError, isRefusal } from '../client/api-error.js';
import type { Client } from '../client/client.js';
import { NonRetryableError } from '../function-errors.js';
import type { Settings } from '../settings.js';

export type PlatformCalls = Pick<Client, 'emit' | 'invoke'> &
  Settings & {
    topics: Pick<Client['topics'], 'publish'>;
    approvals: Pick<Client['approvals'], 'createLink'>;
  };

/** Of one step of one run. A step's name may be longer than a key, and hold what a key may not. */
export function keyOf(runId: string, stepId: string): string {
  return `${runId}.${createHash('sha256').update(stepId).digest('base64url')}`;
}

/** What the platform refuses it will refuse again: no attempt more. */
export async function unlessRefused<Answer>(call: () => Promise<Answer>): Promise<Answer> {
  try {
    return await call();
  } catch (thrown) {
    if (thrown instanceof IronflowApiError && isRefusal(thrown.status)) {
      throw new NonRetryableError(thrown.message, { cause: thrown });
    }
    throw thrown;
  }
}
