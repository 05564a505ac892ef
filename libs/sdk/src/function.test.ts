import { readFile } from 'node:fs/promises';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { z } from 'zod';
import { limits } from '@ironflow/schema';
import { functionsById, manifestOf } from './app.js';
import { ConfigurationError } from './configuration-error.js';
import { parseDuration } from './duration.js';
import { toFailure } from './failure.js';
import { createFunction } from './function.js';
import type { FunctionOptions, IronflowFunction } from './function.js';
import type { Client } from './client/client.js';
import { Occurrences } from './replay/occurrences.js';
import { sdkName } from './version.js';

const refusal = (options: unknown) => {
  try {
    createFunction(options as FunctionOptions<unknown>, () => {});
    return undefined;
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(ConfigurationError);
    return thrown as ConfigurationError;
  }
};

test('a function’s configuration has every default, and attempts may be given as a number', () => {
  const { config } = createFunction({ id: 'f', triggers: [{ event: 'a' }], retries: 5 }, () => {});
  expect(config.retries).toEqual({ attempts: 5, initialDelayMs: 1_000, factor: 2, maxDelayMs: 300_000 });
});

test('a start deadline is registered, and the failures’ function has none', () => {
  const options = { id: 'f', triggers: [], startDeadline: '1h', onFailure: () => {} } as const;
  const { config, onFailure } = createFunction(options, () => {});
  expect(config.startDeadlineMs).toBe(3_600_000);
  expect(onFailure!.config).not.toHaveProperty('startDeadlineMs');
});

test.each([
  [{ id: 'a b', triggers: [] }, 'id'],
  [{ id: 'f', triggers: [{ event: 'a b' }] }, 'triggers[0].event'],
  [{ id: 'f', triggers: [], trigger: {} }, 'trigger'],
  [{ id: 'f', triggers: [], retries: 0 }, 'retries.attempts'],
  [{ id: 'f', triggers: [], schema: {} }, 'schema'],
  [{ id: 'f', triggers: [], startDeadline: 0 }, 'startDeadline'],
  [{ id: 'f', triggers: [], startDeadline: '366d' }, 'startDeadline'],
])('a broken one is refused naming the field: %j', (options, field) => {
  expect(refusal(options)).toMatchObject({ field, message: expect.stringMatching(/: /) });
});

test('the event and the output have their types', async () => {
  const typed = createFunction(
    { id: 'f', triggers: [], schema: z.object({ n: z.number(), at: z.string().optional() }) },
    async ({ event, step }) => {
      const n: number = event.data.n;
      const date: { at: string } = await step.run('date', () => ({ at: new Date(0), n }));
      // @ts-expect-error no such field
      void event.data.missing;
      return date.at;
    },
  );
  // @ts-expect-error `unknown` has to be looked at first
  createFunction({ id: 'g', triggers: [] }, ({ event }) => void event.data.n);
  expect(typed.id).toBe('f');
});

test('what a function is invoked with is what its schema takes, not what it makes of it', () => {
  const greet = createFunction(
    {
      id: 'greet',
      triggers: [],
      schema: z.object({
        name: z.string(),
        times: z.string().transform(Number),
        sign: z.string().default('!'),
      }),
    },
    ({ event }) => event.data.times * event.data.sign.length,
  );
  const untyped = createFunction({ id: 'untyped', triggers: [] }, () => 1);
  const typesOf = (invoke: Client['invoke']) => [
    invoke(greet, { name: 'ada', times: '2' }, { wait: '1s' }),
    invoke(greet, { name: 'ada', times: '2', sign: '?' }),
    // @ts-expect-error `times` goes in as text
    invoke(greet, { name: 'ada', times: 2 }),
    // @ts-expect-error a field is missing
    invoke(greet, { name: 'ada' }),
    // @ts-expect-error the data is missing
    invoke(greet),
    // @ts-expect-error there is no such field
    invoke(greet, { name: 'ada', times: '2', colour: 'red' }),
    invoke(untyped),
    invoke(untyped, { anything: 1 }),
    invoke('greet'),
    invoke('greet', { anything: 1 }, { idempotencyKey: 'k' }),
  ];
  expect(typesOf).toBeInstanceOf(Function);
  const all: readonly IronflowFunction[] = [greet, untyped];
  expect(all).toHaveLength(2);
});

test('durations are read in every unit', () => {
  expect([90, '1ms', '90s', '5m', '2h', '7d', '1w', '0.5s'].map((d) => parseDuration(d as never))).toEqual([
    90, 1, 90_000, 300_000, 7_200_000, 604_800_000, 604_800_000, 500,
  ]);
  expect(parseDuration(-5)).toBe(0);
  fc.assert(
    fc.property(fc.nat(1_000_000_000), (ms) => parseDuration(`${ms}ms`) === ms && parseDuration(ms) === ms),
  );
});

test.each(['', 's', '-1s', '1 s', '1y', '1s2m', Number.NaN, Number.POSITIVE_INFINITY, null, '4000d'])(
  'is no duration: %p',
  (duration) => {
    expect(() => parseDuration(duration as never)).toThrow(ConfigurationError);
  },
);

test('ids of steps are never given twice, and are the name the first time', () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom('a', 'b', 'a:1', 'a:2', 'a:1:1')), (names) => {
      const occurrences = new Occurrences();
      const ids = names.map((name) => occurrences.next(name));
      expect(new Set(ids).size).toBe(ids.length);
      expect(occurrences.size).toBe(ids.length);
    }),
  );
  const plain = new Occurrences();
  expect(['a', 'a', 'b', 'a'].map((name) => plain.next(name))).toEqual(['a', 'a:1', 'b', 'a:2']);
});

test('whatever is thrown becomes a failure that can be stored', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.anything(),
        fc.string({ unit: 'binary', maxLength: 20_000 }).map((text) => new Error(text)),
      ),
      (thrown) => {
        const failure = toFailure(thrown);
        for (const text of [failure.name, failure.message, failure.stack ?? '']) {
          expect(Buffer.byteLength(text)).toBeLessThanOrEqual(limits.errorMessageBytesMax);
          expect(text).not.toContain('\0');
        }
      },
    ),
  );
  class CardDeclined extends Error {}
  expect(toFailure(new CardDeclined('no')).name).toBe('CardDeclined');
  expect(toFailure('text')).toEqual({ name: 'NonError', message: 'text' });
});

test('the SDK says the version that its package has', async () => {
  const manifest = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  expect(sdkName).toBe(`typescript/${manifest.version}`);
});

describe('circuitBreaker', () => {
  const withBreaker = (circuitBreaker: FunctionOptions<unknown>['circuitBreaker']) =>
    createFunction(
      { id: 'f', triggers: [], ...(circuitBreaker === undefined ? {} : { circuitBreaker }) },
      () => 1,
    );

  test('is registered in milliseconds, and only with what it says', () => {
    const own = { enabled: false, consecutiveFailures: 3, failureRatio: 0.2, minimumCalls: 10 };
    expect(
      withBreaker({ ...own, window: '1m', openFor: '30s', successesToClose: 2 }).config.circuitBreaker,
    ).toEqual({ ...own, windowMs: 60_000, openMs: 30_000, successesToClose: 2 });
    expect(withBreaker({ openFor: 500 }).config.circuitBreaker).toEqual({ openMs: 500 });
    expect(withBreaker(undefined).config).not.toHaveProperty('circuitBreaker');
  });

  test.each<[object, RegExp]>([
    [{ openFor: '50ms' }, /^circuitBreaker\.openFor: must be a duration from 100 ms to a day/],
    [{ window: 'soon' }, /^circuitBreaker\.window: must be a duration from 1 s to an hour/],
    [{ openMs: 500 }, /^circuitBreaker\.openMs: is unknown: openFor/],
    [{ consecutiveFailures: 0 }, /^circuitBreaker\.consecutiveFailures: /],
    [{ failureRatio: 2 }, /^circuitBreaker\.failureRatio: /],
    [{ opens: 1 }, /^circuitBreaker\.opens: is not a known field/],
    [false as unknown as object, /^circuitBreaker: /],
  ])('is refused by the name that it has here: %j', (options, message) => {
    expect(() => withBreaker(options)).toThrow(message);
  });
});

describe('onFailure', () => {
  const failing = (onFailure: FunctionOptions<unknown>['onFailure'], id = 'charge') =>
    createFunction(
      {
        ...{ id, name: 'Charge', triggers: [], retries: 2, stepTimeout: '5s' },
        ...(onFailure === undefined ? {} : { onFailure }),
      },
      () => 1,
    );

  test('is a function of its own, registered with the other', () => {
    const definition = failing(() => {});
    const manifest = manifestOf({ app: 'shop', functions: [definition] });
    expect(manifest.functions).toMatchObject([
      { id: 'charge' },
      {
        id: 'charge-on-failure',
        name: 'Charge (failure)',
        triggers: [{ event: 'ironflow.function.failed', if: 'event.data.run.functionId == "charge"' }],
        retries: { attempts: 2 },
        stepTimeoutMs: 5_000,
      },
    ]);
    expect([...functionsById({ app: 'shop', functions: [definition] }).keys()]).toEqual([
      'charge',
      'charge-on-failure',
    ]);
    expect(failing(undefined)).not.toHaveProperty('onFailure');
  });

  test('is refused when it is no function, has no room for its id, or takes another one\u2019s', () => {
    expect(() => failing(1 as never)).toThrow('onFailure: must be a function');
    expect(() => failing(() => {}, 'x'.repeat(120))).toThrow('onFailure: the id is too long');
    const taken = createFunction({ id: 'charge-on-failure', triggers: [] }, () => 1);
    expect(() => functionsById({ app: 'shop', functions: [failing(() => {}), taken] })).toThrow(
      '"charge-on-failure" is given twice',
    );
  });
});
