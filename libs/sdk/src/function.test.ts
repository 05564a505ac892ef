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
import type { FunctionOptions, IronflowFunction, TriggerOptions } from './function.js';
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

describe('flow control', () => {
  const f = { id: 'f', triggers: [] };

  test('is registered with its durations in milliseconds, and a number as one rule of concurrency', () => {
    const { config } = createFunction(
      {
        ...f,
        idempotency: 'event.data.order',
        rateLimit: { limit: 10, period: '1m', key: 'event.data.customer' },
        debounce: { period: '5s', timeout: '1m' },
        singleton: { mode: 'cancel' },
        throttle: { limit: 100, period: '1h', burst: 10 },
        concurrency: 5,
        priority: 'event.data.plan == "pro" ? 60 : 0',
        onFailure: () => {},
      },
      () => {},
    );
    expect(config).toMatchObject({
      idempotency: 'event.data.order',
      rateLimit: { limit: 10, periodMs: 60_000, burst: 1, key: 'event.data.customer' },
      debounce: { periodMs: 5_000, timeoutMs: 60_000 },
      singleton: { mode: 'cancel' },
      throttle: { limit: 100, periodMs: 3_600_000, burst: 10 },
      concurrency: [{ limit: 5, scope: 'function' }],
      priority: 'event.data.plan == "pro" ? 60 : 0',
    });
    const batched = createFunction({ ...f, batch: { maxSize: 100, timeout: '10s' } }, () => {});
    expect(batched.config.batch).toEqual({ maxSize: 100, timeoutMs: 10_000 });
  });

  test.each<[FunctionOptions<unknown>['concurrency'], unknown]>([
    [{ limit: 2, key: 'event.data.a' }, [{ limit: 2, key: 'event.data.a', scope: 'function' }]],
    [
      [{ limit: 2 }, { limit: 9, scope: 'env' }],
      [
        { limit: 2, scope: 'function' },
        { limit: 9, scope: 'env' },
      ],
    ],
  ])('takes concurrency as %j', (concurrency, expected) => {
    expect(createFunction({ ...f, concurrency: concurrency! }, () => {}).config.concurrency).toEqual(
      expected,
    );
  });

  test('of a function is none of its failures’ function', () => {
    const { onFailure } = createFunction({ ...f, concurrency: 1, onFailure: () => {} }, () => {});
    expect(onFailure!.config).not.toHaveProperty('concurrency');
  });

  test.each([
    [{ idempotency: '' }, 'idempotency'],
    [{ rateLimit: 5 }, 'rateLimit'],
    [{ rateLimit: { limit: 5 } }, 'rateLimit.period'],
    [{ rateLimit: { limit: 5, period: '500ms' } }, 'rateLimit.period'],
    [{ rateLimit: { limit: 0, period: '1s' } }, 'rateLimit.limit'],
    [{ throttle: { limit: 5, period: '8d' } }, 'throttle.period'],
    [{ throttle: { limit: 5, period: '1s', burst: 0 } }, 'throttle.burst'],
    [{ throttle: { limit: 5, period: '1s', brust: 1 } }, 'throttle.brust'],
    [{ debounce: null }, 'debounce'],
    [{ debounce: { period: '99ms' } }, 'debounce.period'],
    [{ debounce: { period: '5s', timeout: 'soon' } }, 'debounce.timeout'],
    [{ debounce: { period: '5s', timeout: '4s' } }, 'debounce.timeout'],
    [{ batch: { maxSize: 1_001, timeout: '1s' } }, 'batch.maxSize'],
    [{ batch: { maxSize: 10 } }, 'batch.timeout'],
    [{ batch: { maxSize: 10, timeout: '1s' }, debounce: { period: '1s' } }, 'batch'],
    [{ singleton: { mode: 'stop' } }, 'singleton.mode'],
    [{ concurrency: 0 }, 'concurrency'],
    [{ concurrency: 1.5 }, 'concurrency'],
    [{ concurrency: [{ limit: 1 }, { limit: 0, scope: 'env' }] }, 'concurrency[1].limit'],
    [{ concurrency: [{ limit: 1 }, { limit: 2 }] }, 'concurrency[1]'],
    [{ priority: 60 }, 'priority'],
  ])('that is broken is refused naming the field: %j', (options, field) => {
    expect(refusal({ ...f, ...options })).toMatchObject({ field, message: expect.stringMatching(/: /) });
  });
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

test('the options of a schedule are registered in milliseconds, and refused by the name they were given', () => {
  const declare = (trigger: TriggerOptions) => createFunction({ id: 'f', triggers: [trigger] }, () => null);
  const cron = '0 3 * * *';
  const { config } = declare({ cron, id: 'nightly', jitter: '5m', overlap: 'skip', catchUp: '1d' });
  expect(config.triggers).toEqual([
    { cron, timezone: 'UTC', id: 'nightly', jitterMs: 300_000, overlap: 'skip', catchUpMs: 86_400_000 },
  ]);
  expect(() => declare({ cron, jitter: '2h' })).toThrow(/^triggers\[0\]\.jitter: /);
  expect(() => declare({ cron, catchUp: '5s' })).toThrow(/^triggers\[0\]\.catchUp: /);
});
