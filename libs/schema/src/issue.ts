/**
 * What Zod found, as a user is told it: which field, and which rule. Never the value; the names of fields are told,
 * shortened, since without them nobody finds the place.
 */
import type { z } from 'zod';

type Issue = z.core.$ZodIssue;

/** Longer paths only come from hostile input. */
const fieldLengthMax = 200;

/** `field` is a path such as `triggers[0].event`; empty for the input itself. */
export function describeIssue(issue: Issue): { field: string; message: string } {
  const exact = narrow(issue);
  if (exact.code === 'unrecognized_keys') {
    return { field: pathOf([...exact.path, exact.keys[0]!]), message: 'is not a known field' };
  }
  return { field: pathOf(exact.path), message: exact.message };
}

/**
 * Of a union's alternatives the one that was meant is the one with the fewest problems, if there is such a one; those of
 * another type altogether are not what was meant.
 */
function narrow(issue: Issue): Issue {
  // What is wrong with the name of a field.
  if (issue.code === 'invalid_key') return { ...issue, ...issue.issues[0], path: issue.path } as Issue;
  if (issue.code !== 'invalid_union') return issue;
  const [best, second] = issue.errors.filter(isOfType).sort((a, b) => a.length - b.length);
  const inner = best?.[0];
  if (inner === undefined || second?.length === best!.length) return issue;
  return narrow({ ...inner, path: [...issue.path, ...inner.path] });
}

function isOfType(problems: readonly Issue[]): boolean {
  return !problems.some(({ code, path }) => code === 'invalid_type' && path.length === 0);
}

function pathOf(path: readonly PropertyKey[]): string {
  let text = '';
  for (const part of path) {
    text += typeof part === 'number' ? `[${part}]` : `${text === '' ? '' : '.'}${String(part)}`;
    if (text.length > fieldLengthMax) return `${text.slice(0, fieldLengthMax)}…`;
  }
  return text;
}
