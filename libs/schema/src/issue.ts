/** What Zod found, as a user is told it: which field, and which rule. Never the value. */
import type { z } from 'zod';

type Issue = z.core.$ZodIssue;

/** `field` is a path such as `triggers[0].event`; empty for the input itself. */
export function describeIssue(issue: Issue): { field: string; message: string } {
  const exact = narrow(issue);
  if (exact.code !== 'unrecognized_keys') return { field: pathOf(exact.path), message: exact.message };
  return { field: pathOf([...exact.path, exact.keys[0]!]), message: 'is not a known option' };
}

/** Of a union's alternatives the one that was meant is the one with the fewest problems, if there is such a one. */
function narrow(issue: Issue): Issue {
  if (issue.code !== 'invalid_union') return issue;
  const [best, second] = [...issue.errors].sort((a, b) => a.length - b.length);
  const inner = best?.[0];
  if (inner === undefined || (second !== undefined && second.length === best!.length)) return issue;
  return narrow({ ...inner, path: [...issue.path, ...inner.path] });
}

function pathOf(path: readonly PropertyKey[]): string {
  return path
    .map((part, index) => {
      if (typeof part === 'number') return `[${part}]`;
      return index === 0 ? String(part) : `.${String(part)}`;
    })
    .join('');
}
