// The functions of run-logs.integration.test.ts: what they log, around steps that fail, sleep and are held.
import { createFrame } from './frame.mjs';

export function functions(mode, work) {
  const { define } = createFrame(mode, work);
  return [
    define('talk', async ({ step, logger, run }) => {
      logger.info('begins', { mode });
      await step.run('first', ({ attempt }) => {
        logger.warn('in first', { attempt });
        if (attempt === 1) throw new Error('once');
      });
      logger.info('between');
      await step.sleep('nap', '20ms');
      await step.run('held', async () => {
        logger.info('held begins');
        await work(run, 'held');
        logger.info('held ends');
      });
      logger.error('ends', { error: new RangeError('as an example') });
    }),
    define('flood', async ({ step, logger }) => {
      for (let line = 0; line < 1_100; line += 1) logger.debug(`first ${line}`);
      await step.sleep('nap', '20ms');
      for (let line = 0; line < 1_100; line += 1) logger.debug(`second ${line}`);
    }),
    define('silent', ({ step }) => step.run('only', () => 'done')),
  ];
}
