import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { emittedEventSchema } from './event.js';
import { failureSchema } from './failure.js';
import { describeIssue } from './issue.js';
import { limits } from './limits.js';
import { emitBodySchema, eventsQuerySchema, runsQuerySchema, waitSchema } from './resources.js';

const refusal = (parsed: {
  success: boolean;
  error?: { issues: Parameters<typeof describeIssue>[0][] } | undefined;
}) => {
  if (parsed.success) return undefined;
  const { field, message } = describeIssue(parsed.error!.issues[0]!);
  return `${field}: ${message}`;
};

describe('how long to wait', () => {
  test('is read in any unit up to a minute', () => {
    fc.assert(fc.property(fc.nat(60_000), (ms) => waitSchema.parse(`${ms}ms`) === ms));
    fc.assert(
      fc.property(
        fc.nat(60),
        (s) => waitSchema.parse(`${s}s`) === s * 1_000 && waitSchema.parse(`${s}`) === s * 1_000,
      ),
    );
    expect(waitSchema.parse('1m')).toBe(60_000);
  });

  test.each(['61s', '60001ms', '2m', '9'.repeat(20)])('is at most a minute: %s', (text) => {
    expect(refusal(waitSchema.safeParse(text))).toMatch(/at most 60 seconds/);
  });

  test.each(['', 's', '-1s', '1h', '1.5s', ' 1s', '1s\n', 'soon'])(
    'is refused with an example: %j',
    (text) => {
      expect(refusal(waitSchema.safeParse(text))).toMatch(/such as "30s"/);
    },
  );
});

describe('what is emitted', () => {
  test('is one event or up to a thousand', () => {
    const event = { name: 'a' };
    expect(emitBodySchema.safeParse(event).success).toBe(true);
    expect(emitBodySchema.safeParse(Array.from({ length: 1_000 }, () => event)).success).toBe(true);
    expect(emitBodySchema.safeParse(Array.from({ length: 1_001 }, () => event)).success).toBe(false);
    expect(emitBodySchema.safeParse([]).success).toBe(false);
  });

  test.each([
    [{}, /^name: /],
    [{ name: 'ironflow.invoke.f' }, /^name: .*reserved/],
    [{ name: 'a', dat: 1 }, /^dat: is not a known field$/],
    [{ name: 'a', idempotencyKey: '' }, /^idempotencyKey: /],
    [{ name: 'a', idempotencyKey: 'é'.repeat(129) }, /^idempotencyKey: must be at most 256 bytes$/],
    [{ name: 'a', correlationId: 'x'.repeat(129) }, /^correlationId: /],
    [{ name: 'a', version: 1 }, /^version: /],
  ])('is refused naming the field: %j', (event, expected) => {
    expect(refusal(emittedEventSchema.safeParse(event))).toMatch(expected);
  });

  test('may hold any JSON', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (data) => emittedEventSchema.safeParse({ name: 'a', data }).success),
    );
  });
});

test('what is recorded of an error is measured in bytes of UTF-8, as whoever records it cuts it', () => {
  const fits = 'é'.repeat(limits.errorMessageBytesMax / 2);
  expect(failureSchema.safeParse({ name: 'Error', message: fits, stack: fits }).success).toBe(true);
  for (const field of ['message', 'stack']) {
    const failure = { name: 'Error', message: '', [field]: `${fits}x` };
    expect(refusal(failureSchema.safeParse(failure))).toBe(`${field}: must be at most 8192 bytes`);
  }
});

describe('a query', () => {
  test('has its page size as text, with a default and bounds', () => {
    expect(runsQuerySchema.parse({}).limit).toBe(50);
    expect(runsQuerySchema.parse({ limit: '200' }).limit).toBe(200);
    for (const limit of ['0', '201', 'x'])
      expect(refusal(runsQuerySchema.safeParse({ limit }))).toMatch(/^limit: /);
  });

  test('names what it does not know', () => {
    expect(refusal(runsQuerySchema.safeParse({ state: 'failed' }))).toBe('state: is not a known field');
    expect(refusal(eventsQuerySchema.safeParse({ from: 'yesterday' }))).toMatch(/^from: /);
  });
});
