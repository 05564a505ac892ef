/** A new issue is looked at and answered. Push: the platform calls it over HTTP. */
import { createFunction } from '@ironflow/sdk';
import type { IronflowFunction } from '@ironflow/sdk';
import { z } from 'zod';
import { noteSteps } from '../ledger.js';
import type { Ledger } from '../ledger.js';

/** What we use of the webhook: `event.data` has this type, and an event that does not fit is refused. */
const issueWebhook = z.object({
  issue: z.object({ number: z.number(), title: z.string(), body: z.string().nullable() }),
  repository: z.object({ full_name: z.string() }),
});

export function triageIssue(ledger: Ledger): IronflowFunction<z.infer<typeof issueWebhook>> {
  return createFunction(
    {
      id: 'triage-issue',
      triggers: [{ event: 'github.issues.opened' }, { event: 'github.issues.reopened' }],
      schema: issueWebhook,
      retries: { attempts: 3, initialDelayMs: 500 },
    },
    noteSteps(ledger, async ({ event, step }) => {
      const { issue, repository } = event.data;

      const kind = await step.run('classify', () => classify(`${issue.title} ${issue.body ?? ''}`));

      // Fails at first. Only this step is tried again; `classify` has its result and is not run a second time.
      const duplicates = await step.run('find-duplicates', ({ attempt }) => {
        if (attempt === 1) throw new Error('the search index is busy');
        return olderIssues
          .filter((older) => shareWords(older.title, issue.title))
          .map(({ number }) => number);
      });

      const labels = await step.run('choose-labels', () =>
        duplicates.length > 0 ? [kind, 'possible-duplicate'] : [kind],
      );

      // Nothing runs meanwhile: the function is called again when the time has come.
      await step.sleep('cool-off', '2s');

      return step.run('comment', () => ({
        issue: `${repository.full_name}#${issue.number}`,
        text: `Thank you! Labelled ${labels.join(', ')}.`,
      }));
    }),
  );
}

const olderIssues = [
  { number: 7, title: 'Spelling of "received" on the start page' },
  { number: 12, title: 'Dark mode' },
];

function classify(text: string): 'documentation' | 'bug' | 'question' {
  if (/readme|spell|typo|docs/i.test(text)) return 'documentation';
  return /error|crash|fail/i.test(text) ? 'bug' : 'question';
}

function shareWords(one: string, other: string): boolean {
  const wordsOf = (title: string): string[] => title.toLowerCase().match(/[a-z]{5,}/g) ?? [];
  const words = new Set(wordsOf(one));
  return wordsOf(other).some((word) => words.has(word));
}
