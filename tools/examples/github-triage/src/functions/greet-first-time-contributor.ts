/** Somebody new is greeted, once they open a pull request, answer a discussion or fork the repository. Push. */
import { createFunction } from '@ironflow/sdk';
import type { IronflowFunction } from '@ironflow/sdk';
import { z } from 'zod';
import { noteSteps } from '../ledger.js';
import type { Ledger } from '../ledger.js';

const user = z.object({ login: z.string() });
const contribution = z.object({
  pull_request: z.object({ user }).optional(),
  answer: z.object({ user }).optional(),
  forkee: z.object({ owner: user }).optional(),
  repository: z.object({ full_name: z.string() }),
});

/** Conditions are CEL over the event: GitHub says in its payloads how the author stands to the repository. */
const isNewcomer = (author: string): string =>
  `${author}.author_association in ["NONE", "FIRST_TIMER", "FIRST_TIME_CONTRIBUTOR"]`;

export function greetFirstTimeContributor(ledger: Ledger): IronflowFunction<z.infer<typeof contribution>> {
  return createFunction(
    {
      id: 'greet-first-time-contributor',
      triggers: [
        { event: 'github.pull_request.opened', if: isNewcomer('event.data.pull_request') },
        { event: 'github.discussion.answered', if: isNewcomer('event.data.answer') },
        { event: 'github.fork', if: 'event.data.forkee.owner.login != event.data.repository.owner.login' },
      ],
      schema: contribution,
    },
    noteSteps(ledger, async ({ event, step }) => {
      const { pull_request: pullRequest, answer, forkee, repository } = event.data;

      const login = await step.run(
        'look-up-contributor',
        () => (pullRequest?.user ?? answer?.user ?? forkee?.owner)?.login ?? 'stranger',
      );
      const greeting = await step.run(
        'write-greeting',
        () => `Welcome to ${repository.full_name}, @${login}! Here is how we work: CONTRIBUTING.md`,
      );
      await step.sleep('not-too-eager', '1s');
      return step.run('post-greeting', () => ({ to: login, greeting }));
    }),
  );
}
