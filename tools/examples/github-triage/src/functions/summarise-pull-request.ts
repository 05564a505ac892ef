/** Whatever happens to a pull request that is no draft: a new summary. Pull: run by a worker that connects to the platform. */
import { createFunction } from '@ironflow/sdk';
import type { IronflowFunction } from '@ironflow/sdk';
import { z } from 'zod';
import { noteSteps } from '../ledger.js';
import type { Ledger } from '../ledger.js';

const pullRequestWebhook = z.object({
  action: z.string(),
  pull_request: z.object({
    number: z.number(),
    title: z.string(),
    additions: z.number(),
    deletions: z.number(),
    changed_files: z.number(),
    comments: z.number(),
    review_comments: z.number(),
    requested_reviewers: z.array(z.object({ login: z.string() })),
  }),
});

export function summarisePullRequest(ledger: Ledger): IronflowFunction<z.infer<typeof pullRequestWebhook>> {
  return createFunction(
    {
      id: 'summarise-pull-request',
      // `*` is any one action.
      triggers: [{ event: 'github.pull_request.*', if: 'event.data.pull_request.draft == false' }],
      schema: pullRequestWebhook,
    },
    noteSteps(ledger, async ({ event, step }) => {
      const { action, pull_request: pullRequest } = event.data;

      // Steps begin when they are called: these two run together, and each is recorded as it ends.
      const [size, conversation] = await Promise.all([
        step.run('read-changes', () => {
          const lines = pullRequest.additions + pullRequest.deletions;
          return `${lines} lines in ${pullRequest.changed_files} files`;
        }),
        step.run('read-conversation', () => ({
          remarks: pullRequest.comments + pullRequest.review_comments,
          reviewers: pullRequest.requested_reviewers.map(({ login }) => login),
        })),
      ]);

      const summary = await step.run('write-summary', () =>
        [
          `#${pullRequest.number} ${pullRequest.title}: ${action}`,
          size,
          `${conversation.remarks} remarks`,
          `waiting for ${conversation.reviewers.join(', ') || 'nobody'}`,
        ].join(' · '),
      );
      await step.sleep('quiet-period', '1s');
      return step.run('publish-summary', () => ({ channel: 'pull-requests', summary }));
    }),
  );
}
