import { expect, test } from '@jest/globals';
import type { ConfigUpdate } from '@ironflow/schema';
import { IronflowApiError } from './client/api-error.js';
import { NonRetryableError } from './function-errors.js';
import { createSettings } from './settings.js';

const notFound = (code: string) => new IronflowApiError({ status: 404, code, message: 'none' });

/** Whoever watches is told what `tell` is given. */
function platformOf(values: Record<string, string>, watchUntil?: AbortSignal) {
  const asked: string[] = [];
  const watched: string[] = [];
  let nowMs = 0;
  let tell: (update: ConfigUpdate) => void = () => undefined;
  const read = async (name: string, code: string): Promise<string> => {
    asked.push(name);
    const value = values[name];
    if (value === undefined) throw notFound(code);
    return value;
  };
  const document = (name: string, data: unknown) => ({ name, data, revision: 1, updatedAt: 'now' });
  async function* watch(name: string): AsyncIterableIterator<ConfigUpdate> {
    watched.push(name);
    for (;;) yield await new Promise<ConfigUpdate>((resolve) => (tell = resolve));
  }
  const client = {
    secrets: { get: (name: string) => read(name, 'secret_not_found') },
    config: { get: async (name: string) => document(name, await read(name, 'config_not_found')), watch },
  };
  const settings = createSettings(() => client, {
    elapsedMs: () => nowMs,
    ...(watchUntil === undefined ? {} : { watchUntil }),
  });
  return {
    ...settings,
    asked,
    watched,
    values,
    pass: (ms: number) => (nowMs += ms),
    tell: async (name: string, change: Partial<ConfigUpdate>) => {
      tell({ ...document(name, undefined), revision: 2, ...change });
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
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

test('a document that is not there is undefined, and known for that as long as any other', async () => {
  const { asked, config, values, pass } = platformOf({});
  expect(await config.get('prices')).toBeUndefined();
  values.prices = 'new';
  expect(await config.get('prices')).toBeUndefined();
  pass(30_000);
  expect(await config.get('prices')).toBe('new');
  expect(asked).toHaveLength(2);
});

test('without an end of watching nothing is watched', async () => {
  const { config, watched } = platformOf({ prices: 'old' });
  await config.get('prices');
  expect(watched).toEqual([]);
});

test('a document that was read is watched once, and what is told of it is what is read next', async () => {
  const { config, watched, tell, pass, asked } = platformOf({ prices: 'old' }, new AbortController().signal);
  expect(await config.get('prices')).toBe('old');
  await tell('prices', { data: { eur: 7 } });
  expect(await config.get('prices')).toEqual({ eur: 7 });
  await tell('prices', { revision: 3, deleted: true });
  expect(await config.get('prices')).toBeUndefined();
  expect(asked).toEqual(['prices']);
  pass(30_000);
  expect(await config.get('prices')).toBe('old');
  expect(watched).toEqual(['prices']);
});
