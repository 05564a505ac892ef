import { expect, test } from '@jest/globals';
import { IronflowApiError } from './client/api-error.js';
import { NonRetryableError } from './function-errors.js';
import { createSettings } from './settings.js';

function platformOf(values: Record<string, string>) {
  const asked: string[] = [];
  let nowMs = 0;
  const get = async (name: string): Promise<string> => {
    asked.push(name);
    const value = values[name];
    if (value === undefined) {
      throw new IronflowApiError({ status: 404, code: 'secret_not_found', message: 'none' });
    }
    return value;
  };
  const { secrets } = createSettings(() => ({ secrets: { get } }), { elapsedMs: () => nowMs });
  return { asked, secrets, values, pass: (ms: number) => (nowMs += ms) };
}

test('a secret is asked for once, by however many, and again after half a minute', async () => {
  const { asked, secrets, values, pass } = platformOf({ KEY: 'first' });
  expect(await Promise.all([secrets.get('KEY'), secrets.get('KEY')])).toEqual(['first', 'first']);
  values.KEY = 'second';
  pass(29_999);
  expect(await secrets.get('KEY')).toBe('first');
  pass(1);
  expect(await secrets.get('KEY')).toBe('second');
  expect(asked).toEqual(['KEY', 'KEY']);
});

test('one that is not there fails for good, and is there once it was set', async () => {
  const { secrets, values } = platformOf({});
  await expect(secrets.get('KEY')).rejects.toBeInstanceOf(NonRetryableError);
  values.KEY = 'set';
  expect(await secrets.get('KEY')).toBe('set');
});
