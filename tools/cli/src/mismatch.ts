/** What `runs show` says of a run whose record does not fit its function's code. Pure. */
import type { RunDetail } from '@ironflow/sdk';
import { plain } from './output.js';

type Mismatch = NonNullable<RunDetail['mismatch']>;

export function describeMismatch({ count, steps }: Mismatch): string[] {
  const more = count - steps.length;
  return [
    'mismatch  what is recorded of this run did not fit the code of its function:',
    ...steps.map(
      (step) => `  ${plain(step.id)}: recorded as ${step.type}, ${step.status}; ${whatTheCodeDoes(step)}`,
    ),
    ...(more > 0 ? [`  and ${more} more`] : []),
    '  guard such a change with step.patched(<id>), or bring back the code before it, or repeat the run (runs rerun)',
  ];
}

function whatTheCodeDoes({ kind, calledAs }: Mismatch['steps'][number]): string {
  switch (kind) {
    case 'out_of_turn':
      return 'the code went on without calling it where it is recorded';
    case 'not_called':
      return 'the code returned without calling it';
    case 'type_changed':
      return `the code calls it as ${calledAs ?? 'another type'}, so the run failed`;
  }
}
