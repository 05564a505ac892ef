// The functions of steps.integration.test.ts.
import { createFrame, quick } from './frame.mjs';

export function functions(mode, work) {
  const { define, framed, asAsked } = createFrame(mode, work);
  const handler = async ({ event, step, run, signal }) => {
    await step.run('before', () => work(run, 'before'));
    await work(run, 'handler', signal);
    if (event.data.fails) throw new RangeError('no use');
    return 'returned';
  };
  /** A step's work: what the test holds, then its output or error. */
  const working =
    ({ run, event }, what, output) =>
    async ({ signal }) => {
      await work(run, what, signal);
      if (event.data.fails === what) throw new RangeError('no use');
      return output;
    };
  return [
    define('function', handler),
    define('function-failing', handler, { retries: quick }),
    framed('run', (context) =>
      context.step.run('work', working(context, 'work', { done: [1, null] }), asAsked(context.event.data)),
    ),
    framed('map', (context) =>
      context.step.map(
        'work',
        ['a', 'b', 'c'],
        (item, { index, signal }) => working(context, `work[${index}]`, item.toUpperCase())({ signal }),
        { concurrency: 1, ...asAsked(context.event.data) },
      ),
    ),
    framed('parallel', (context) =>
      context.step.parallel('both', {
        left: (step) =>
          step.run('work', working(context, 'both.left.work', 'left'), asAsked(context.event.data)),
        right: async (step) => {
          await step.sleep('nap', 20);
          return step.run('work', working(context, 'both.right.work', 'right'), asAsked(context.event.data));
        },
      }),
    ),
    framed('all', ({ step, run, event }) =>
      Promise.all([
        step.run('quick', () => work(run, 'quick').then(() => 'quick')),
        step.sleep('nap', 20).then(() => 'slept'),
        step.waitForSignal('answer', { timeout: event.data.timeout ?? '1h' }),
        step.run(
          'work',
          async () => {
            if (event.data.fails) throw new RangeError('no use');
          },
          { retries: quick },
        ),
      ]),
    ),
    framed('patched', async ({ step, run, event }) => {
      const way = (await step.patched(event.data.fails ? '' : 'new way')) ? 'new' : 'old';
      await step.run(way, ({ signal }) => work(run, way, signal));
      return way;
    }),
  ];
}
