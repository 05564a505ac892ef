// The functions of runs.integration.test.ts.
import { NonRetryableError } from '@ironflow/sdk';
import { createFrame } from './frame.mjs';

export function functions(mode, work) {
  const { around, define, framed, asAsked } = createFrame(mode, work);
  const working = ({ step, run, event }) =>
    step.run('work', ({ signal }) => work(run, 'work', signal), asAsked(event.data));
  return [
    define(
      'charge',
      () => {
        throw new NonRetryableError('no funds');
      },
      {
        onFailure: around(async (context) => {
          await working(context);
          if (context.event.data.fails) throw new NonRetryableError('it fails as well');
          return { told: context.error.message, of: context.failedRun.id };
        }),
      },
    ),
    framed('order', working, {
      cancelOn: [{ event: `${mode}.withdrawn`, match: 'data.order', if: 'event.data.by == trigger.data.by' }],
    }),
    framed('repeated', async (context) => {
      await working(context);
      if (context.event.data.fails) throw new NonRetryableError('no use');
      return context.event.data.n;
    }),
  ];
}
