import { describe, expect, test } from '@jest/globals';
import { z } from 'zod';
import { describeIssue } from './issue.js';

const schema = z.object({
  one: z.union([
    z.strictObject({ event: z.string().max(5, 'has at most 5 characters') }),
    z.strictObject({ cron: z.string() }),
    z.array(z.strictObject({ event: z.string() })),
  ]),
});
function told(one: unknown) {
  const parsed = schema.safeParse({ one });
  return parsed.success ? undefined : describeIssue(parsed.error.issues[0]!);
}

describe('of the alternatives of a union', () => {
  test.each([
    [{ event: 'too long' }, 'one.event', /^has at most 5/],
    [{ cron: 5 }, 'one.cron', /expected string/],
    [{ event: 'a', x: 1 }, 'one.x', /^is not a known field$/],
    [[{ event: 'a' }, {}, { event: 1, x: 1 }], 'one[1].event', /expected string/],
    [[{ event: 'a', x: 1 }], 'one[0].x', /^is not a known field$/],
    [7, 'one', /^Invalid input$/],
    [{ event: 'a', cron: 'b' }, 'one', /^Invalid input$/],
  ])('the one that was meant is told of: %j', (one, field, message) => {
    expect(told(one)).toEqual({ field, message: expect.stringMatching(message) });
  });
});

test('a path is shortened, however long a name the input makes up', () => {
  expect(told({ event: 'a', ['x'.repeat(100_000)]: 1 })!.field).toMatch(/^one\.x{196}…$/);
});

test('of a name that is none its rule is told', () => {
  const named = z.record(z.string().regex(/^[a-z]+$/, 'must be of a-z'), z.number());
  const [issue] = z.object({ kv: named }).safeParse({ kv: { 'a b': 1 } }).error!.issues;
  expect(describeIssue(issue!)).toEqual({ field: 'kv.a b', message: 'must be of a-z' });
});
