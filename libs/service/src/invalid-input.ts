/**
 * Turns what Zod found into the one error a client gets: the first broken rule and where it is. Values never appear; the
 * names of fields do, shortened, since without them nobody finds the place.
 */
import { IronflowError } from '@ironflow/errors';
import type { z } from 'zod';

type Issue = z.core.$ZodIssue;

/** Longer paths only come from hostile input. */
const fieldLengthMax = 200;

export function invalidInput(error: z.core.$ZodError, code = 'invalid_request'): IronflowError {
  const { path, message } = firstRule(error.issues[0]!, []);
  const field = formatPath(path);
  return new IronflowError('invalid', code, message, field === '' ? {} : { field });
}

interface BrokenRule {
  path: PropertyKey[];
  message: string;
}

function firstRule(issue: Issue, parent: PropertyKey[]): BrokenRule {
  const path = [...parent, ...issue.path];
  if (issue.code === 'unrecognized_keys') {
    return { path: [...path, issue.keys[0] ?? ''], message: 'is not a known field' };
  }
  if (issue.code !== 'invalid_union') return { path, message: issue.message };
  const branches = issue.errors.flatMap((issues) => (issues[0] === undefined ? [] : [issues[0]]));
  const closest = branches.reduce<Issue | undefined>(
    (best, candidate) => (best === undefined || closeness(candidate) > closeness(best) ? candidate : best),
    undefined,
  );
  return closest === undefined
    ? { path, message: 'is none of the allowed variants' }
    : firstRule(closest, path);
}

/** A branch that failed deep inside, or on a finer rule than its type, is the one that was meant. */
function closeness(issue: Issue): number {
  return issue.path.length * 2 + (issue.code === 'invalid_type' ? 0 : 1);
}

/** `triggers[0].event` */
function formatPath(path: PropertyKey[]): string {
  let text = '';
  for (const part of path) {
    text += typeof part === 'number' ? `[${part}]` : `${text === '' ? '' : '.'}${String(part)}`;
    if (text.length > fieldLengthMax) return `${text.slice(0, fieldLengthMax)}…`;
  }
  return text;
}
