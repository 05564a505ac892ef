/** What `ironflow doctor` says of one thing it has looked at. */
export interface Finding {
  check: string;
  /** `note`: nothing is wrong, but somebody who wonders should know. */
  result: 'ok' | 'note' | 'fail';
  /** Of what is wrong: the cause, and what is done about it. Never a secret. */
  detail: string;
}

export type Problem = Omit<Finding, 'check'>;

export const fail = (detail: string): Problem => ({ result: 'fail', detail });
export const note = (detail: string): Problem => ({ result: 'note', detail });

/** What is wrong with it, or else that nothing is. */
export function findingsOf(check: string, problems: readonly Problem[], ok: string): Finding[] {
  const said = problems.some(({ result }) => result === 'fail')
    ? []
    : [{ result: 'ok' as const, detail: ok }];
  return [...said, ...problems].map((finding) => ({ check, ...finding }));
}

const listedMax = 5;

/** A few of them, and how many more there are. */
export function listed(names: readonly string[]): string {
  const more = names.length - listedMax;
  return names.slice(0, listedMax).join(', ') + (more > 0 ? ` and ${more} more` : '');
}
