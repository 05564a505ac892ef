import { expect, test } from '@jest/globals';
import { createLifecycle } from './lifecycle.js';
import { createLogger } from './logger.js';

const logger = createLogger({ service: 'test', level: 'silent' });

test('parts stop in the reverse of their order, once, however often stop is called', async () => {
  const lifecycle = createLifecycle({ logger });
  const stops: string[] = [];
  await lifecycle.start('first', () => ({ stop: async () => void stops.push('first') }));
  lifecycle.onStop('pool', () => stops.push('pool'));
  await lifecycle.start('second', async () => ({ stop: async () => void stops.push('second') }));
  expect(lifecycle.stopping.aborted).toBe(false);
  await Promise.all([lifecycle.stop(), lifecycle.stop()]);
  await lifecycle.stop();
  expect(lifecycle.stopping.aborted).toBe(true);
  expect(stops).toEqual(['second', 'pool', 'first']);
});

test('a part that fails to stop does not keep the others running', async () => {
  const lifecycle = createLifecycle({ logger });
  let isStopped = false;
  await lifecycle.start('first', () => ({ stop: async () => void (isStopped = true) }));
  await lifecycle.start('second', () => ({ stop: () => Promise.reject(new Error('stuck')) }));
  await expect(lifecycle.stop()).rejects.toMatchObject({ errors: [new Error('stuck')] });
  expect(isStopped).toBe(true);
});

test('a part that was starting when stop came is stopped, and nothing starts after it', async () => {
  const lifecycle = createLifecycle({ logger });
  let release = () => {};
  let isStopped = false;
  const starting = lifecycle.start('slow', async () => {
    await new Promise<void>((resolve) => (release = resolve));
    return { stop: async () => void (isStopped = true) };
  });
  const stopped = lifecycle.stop();
  await expect(lifecycle.start('late', () => ({ stop: async () => {} }))).rejects.toMatchObject({
    code: 'stopping',
  });
  release();
  await expect(starting).rejects.toMatchObject({ code: 'stopping' });
  await stopped;
  expect(isStopped).toBe(true);
});

test('a part that fails to start has nothing to stop, and its error reaches the caller', async () => {
  const lifecycle = createLifecycle({ logger });
  await expect(lifecycle.start('bad', () => Promise.reject(new Error('no port')))).rejects.toThrow('no port');
  await lifecycle.stop();
});

test('under start and stop at random moments every part that started is stopped exactly once', async () => {
  for (let seed = 0; seed < 200; seed += 1) {
    const lifecycle = createLifecycle({ logger });
    const counts = Array.from({ length: 5 }, () => ({ started: 0, stopped: 0 }));
    const turns = async (count: number) => {
      for (let index = 0; index < count; index += 1) await Promise.resolve();
    };
    const starts = counts.map(async (count, index) => {
      await turns((seed * (index + 3)) % 17);
      return lifecycle.start(`part ${index}`, async () => {
        await turns((seed * (index + 1)) % 11);
        count.started += 1;
        return { stop: async () => void (count.stopped += 1) };
      });
    });
    await turns(seed % 23);
    await Promise.all([lifecycle.stop(), Promise.allSettled(starts), lifecycle.stop()]);
    for (const count of counts) expect(count.stopped).toBe(count.started);
  }
});
