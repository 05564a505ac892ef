/** Turns what Zod found into the one error a client gets: the first broken rule and where it is. */
import { IronflowError } from '@ironflow/errors';
import { describeIssue } from '@ironflow/schema';
import type { z } from 'zod';

export function invalidInput(error: z.core.$ZodError, code = 'invalid_request'): IronflowError {
  const { field, message } = describeIssue(error.issues[0]!);
  return new IronflowError('invalid', code, message, field === '' ? {} : { field });
}
