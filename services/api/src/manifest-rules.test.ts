import { expect, test } from '@jest/globals';
import { IronflowError } from '@ironflow/errors';
import { appManifestSchema } from '@ironflow/schema';
import type { AppManifest } from '@ironflow/schema';
import { checkManifest } from './manifest-rules.js';

function manifestOf(...triggers: unknown[]): AppManifest {
  return appManifestSchema.parse({
    id: 'app',
    mode: 'pull',
    functions: [
      { id: 'first', triggers: [] },
      { id: 'second', triggers },
    ],
  });
}

const good = { event: 'user.*' };
const bad: [string, unknown, string, RegExp][] = [
  ['a condition that is not CEL', { ...good, if: 'event.data.x ==' }, 'if', /CEL/],
  ['a condition over something unknown', { ...good, if: 'user.age > 3' }, 'if', /CEL/],
  ['a condition that cannot be true', { ...good, if: '"text"' }, 'if', /type string/],
  ['a condition that compares what cannot be compared', { ...good, if: '1 < "a"' }, 'if', /CEL/],
  ['a condition that may be nothing at all', { ...good, if: 'event.data.?total' }, 'if', /type optional/],
  ['a function that is not available', { ...good, if: '["a"].join("") == "a"' }, 'if', /CEL|join/],
  ['a loop that grows', { ...good, if: `["a"]${'.map(x, x + x)'.repeat(7)} == []` }, 'if', /6 additions/],
  ['a cron expression of four fields', { cron: '* * * *' }, 'cron', /5 fields/],
  ['a cron expression of seven fields', { cron: '* * * * * * *' }, 'cron', /5 fields/],
  ['a nickname', { cron: '@daily' }, 'cron', /5 fields/],
  ['a minute that does not exist', { cron: '61 * * * *' }, 'cron', /minute/],
  ['a day that never comes', { cron: '0 0 30 2 *' }, 'cron', /fires/],
  ['an unknown timezone', { cron: '* * * * *', timezone: 'Mars/Olympus' }, 'timezone', /IANA/],
];

test.each(bad)('%s is refused naming the field', async (_what, trigger, field, rule) => {
  const error: unknown = await checkManifest(manifestOf(good, trigger)).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(IronflowError);
  expect(error).toMatchObject({ code: 'app_invalid', field: `functions[1].triggers[1].${field}` });
  expect((error as IronflowError).message).toMatch(rule);
});

test.each([
  { ...good, if: 'event.data.total > 100 && event.name.startsWith("user.")' },
  { ...good, if: 'has(event.data.user) ? event.data.user.admin : false' },
  { ...good, if: 'event.data.tags.exists(tag, tag == "vip")' },
  { cron: '*/5 * * * *', timezone: 'Europe/Berlin' },
  { cron: '30 0 9 * * MON-FRI' },
  { cron: '0 0 29 2 *' },
])('%j is taken', async (trigger) => {
  await expect(checkManifest(manifestOf(trigger))).resolves.toBeUndefined();
});

const withFlow = (flow: object): AppManifest =>
  appManifestSchema.parse({
    id: 'app',
    mode: 'pull',
    functions: [
      { id: 'first', triggers: [] },
      { id: 'second', triggers: [], ...flow },
    ],
  });
const rate = { limit: 1, periodMs: 1_000 };

test.each<[object, string, RegExp]>([
  [{ idempotency: 'event.data.' }, 'idempotency', /CEL/],
  [{ rateLimit: { ...rate, key: 'order.id' } }, 'rateLimit.key', /CEL/],
  [{ debounce: { periodMs: 100, key: 'trigger.data' } }, 'debounce.key', /CEL/],
  [{ batch: { maxSize: 2, timeoutMs: 100, key: '["a"].join()' } }, 'batch.key', /join/],
  [{ singleton: { mode: 'skip', key: 'timestamp(event.receivedAt)' } }, 'singleton.key', /text, a number/],
  [{ throttle: { ...rate, key: 'b"a"' } }, 'throttle.key', /text, a number/],
  [{ concurrency: [{ limit: 1 }, { limit: 2, key: 'event.' }] }, 'concurrency[1].key', /CEL/],
  [{ priority: '"high"' }, 'priority', /number of seconds/],
])('an expression that is none is refused naming the field: %j', async (flow, field, rule) => {
  const error: unknown = await checkManifest(withFlow(flow)).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: 'app_invalid', field: `functions[1].${field}` });
  expect((error as IronflowError).message).toMatch(rule);
});

test('flow control whose expressions compile is taken', async () => {
  const flow = {
    idempotency: '[event.data.customer, event.data.order]',
    rateLimit: { ...rate, key: 'event.data.?customer' },
    debounce: { periodMs: 100, key: 'string(event.data.total)' },
    singleton: { mode: 'queue', key: 'event.name' },
    throttle: rate,
    concurrency: [
      { limit: 1, key: 'event.data.customer' },
      { limit: 5, scope: 'env' },
    ],
    priority: 'event.data.plan == "pro" ? 60 : 0',
  };
  await expect(checkManifest(withFlow(flow))).resolves.toBeUndefined();
});
