// The functions of steps.integration.test.ts.
import { NonRetryableError } from '@ironflow/sdk';
import { createFrame, quick } from './frame.mjs';

const mebibyte = 1024 * 1024;

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
    define('function-bounded', handler, { timeout: '1s' }),
    framed('run', (context) =>
      context.step.run('work', working(context, 'work', { done: [1, null] }), asAsked(context.event.data)),
    ),
    framed('compensate', async ({ step, run, event }) => {
      for (const name of ['hotel', 'flight']) {
        await step.run(name, () => work(run, name));
        const undo = ({ signal }) => {
          if (event.data.fails) throw new RangeError('no use');
          return work(run, `undo ${name}`, signal);
        };
        await step.compensate(name, undo, asAsked(event.data));
      }
      await step.run('work', ({ signal }) => work(run, 'work', signal));
      if (!event.data.goesWell) throw new NonRetryableError('it rains');
    }),
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
    framed('large', async ({ step, run, event }) => {
      const output = await step.run('large', async () => {
        await work(run, 'large');
        return 'x'.repeat(event.data.fails ? 4 * mebibyte - 1 : mebibyte);
      });
      await step.run('work', ({ signal }) => work(run, 'work', signal));
      return output;
    }),
  ];
}
