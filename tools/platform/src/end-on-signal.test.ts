import { afterEach, expect, test } from '@jest/globals';
import { endOnSignal } from './end-on-signal.js';
import type { Interruption } from './end-on-signal.js';

let interruption: Interruption;
let firsts = 0;
// Signals are told as Node tells them; nobody is really interrupted.
const signal = (name: 'SIGINT' | 'SIGTERM'): boolean => process.emit(name, name);

afterEach(() => interruption.release());

test('the first signal gives up what is waited for; what npm passes on of it is no second one', async () => {
  interruption = endOnSignal(() => (firsts += 1));
  expect(await interruption.during(Promise.resolve('done'))).toBe('done');
  const waiting = interruption.during(new Promise(() => undefined));
  signal('SIGINT');
  signal('SIGINT');
  await expect(waiting).rejects.toThrow('interrupted');
  expect(interruption.signal.aborted).toBe(true);
  expect(firsts).toBe(1);
  // Nor is anything begun that nobody would wait for.
  await expect(interruption.during(new Promise(() => undefined))).rejects.toThrow('interrupted');
});

test('once released, it hears nothing', () => {
  const before = process.listenerCount('SIGTERM');
  interruption = endOnSignal();
  expect(process.listenerCount('SIGTERM')).toBe(before + 1);
  interruption.release();
  expect(process.listenerCount('SIGTERM')).toBe(before);
});
