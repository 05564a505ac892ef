// The functions of waits.integration.test.ts.
import { NonRetryableError } from '@ironflow/sdk';
import { createFrame } from './frame.mjs';

export function functions(mode, work, tell) {
  const { define, framed } = createFrame(mode, work);
  const invokeAsync = ({ step, event }) =>
    step.invokeAsync('ask', { function: event.data.function ?? `${mode}-child`, data: event.data });
  const sendEvent = ({ step, event }) =>
    step.sendEvent('ask', { name: event.data.event ?? `${mode}.child`, data: event.data });
  const publish = ({ step, run, event }) =>
    step.publish(event.data.topic ?? `published.${run.id}`, 'shipped', { name: 'ask' });
  /** An attempt's time is bounded by the function where the step takes no `timeout`. */
  const bounded = { stepTimeout: 500 };
  return [
    framed('sleep', ({ step, event }) => step.sleep('nap', event.data.for ?? 50)),
    framed('sleepUntil', ({ step, event }) => step.sleepUntil('nap', new Date(event.data.until))),
    framed('waitForEvent', ({ step, event }) =>
      step.waitForEvent('payment', {
        event: `${mode}.paid`,
        match: 'data.order',
        timeout: event.data.timeout ?? '1h',
        ...(event.data.if === undefined ? {} : { if: event.data.if }),
      }),
    ),
    framed('waitForSignal', ({ step, event }) =>
      step.waitForSignal('answer', { timeout: '1h', ...event.data }),
    ),
    framed('approve', ({ step, run, event }) =>
      step.approve('manager', {
        timeout: event.data.timeout ?? '1h',
        request: async ({ url, signal }) => {
          if (event.data.fails) throw new NonRetryableError(`nobody is at ${url}`);
          tell(run, url);
          await work(run, 'request', signal);
        },
      }),
    ),
    framed('invoke', ({ step, event }) =>
      step.invoke('ask', {
        function: `${mode}-child`,
        data: event.data,
        ...(event.data.timeout === undefined ? {} : { timeout: event.data.timeout }),
      }),
    ),
    framed('invokeAsync', invokeAsync),
    framed('invokeAsync-bounded', invokeAsync, bounded),
    framed('sendEvent', sendEvent),
    framed('sendEvent-bounded', sendEvent, bounded),
    framed('publish', publish),
    framed('publish-bounded', publish, bounded),
    define(
      'child',
      async ({ step, run, event }) => {
        await step.run('child', ({ signal }) => work({ id: event.data.name ?? run.id }, 'child', signal));
        if (event.data.fails) throw new NonRetryableError('nothing in stock');
        return 'shipped';
      },
      { triggers: [{ event: `${mode}.child` }] },
    ),
  ];
}
