import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  appIdSchema,
  emittedEventNameSchema,
  eventNameSchema,
  eventPatternSchema,
  functionIdSchema,
  matchesEventPattern,
  slugSchema,
  uuidSchema,
} from './identifiers.js';

const anySlug = fc.stringMatching(/^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$/);
const anyId = fc.stringMatching(/^[A-Za-z0-9_-]{1,128}$/);
const anyUuid = fc.uuid();
const anyToken = fc.stringMatching(/^[A-Za-z0-9_-]{1,12}$/);
const anyTokens = fc.array(anyToken, { minLength: 1, maxLength: 8 });
const anyEventName = anyTokens.map((tokens) => tokens.join('.'));

const messageOf = (parsed: { success: boolean; error?: { issues: { message: string }[] } | undefined }) =>
  parsed.success ? undefined : parsed.error!.issues[0]!.message;

describe('names that tenants choose', () => {
  test('are taken when they keep to the grammar', () => {
    fc.assert(fc.property(anySlug, (slug) => slugSchema.safeParse(slug).success));
    fc.assert(
      fc.property(anyId, (id) => appIdSchema.safeParse(id).success && functionIdSchema.safeParse(id).success),
    );
    fc.assert(fc.property(anyEventName, (name) => eventNameSchema.safeParse(name).success));
    fc.assert(fc.property(anyUuid, (id) => uuidSchema.safeParse(id).success));
  });

  test('can never hold what would change a subject', () => {
    const hostile = fc.tuple(
      fc.string(),
      fc.constantFrom('.', '*', '>', ' ', '\n', '\0', '/', 'é'),
      fc.string(),
    );
    fc.assert(
      fc.property(hostile, (parts) => {
        const text = parts.join('');
        expect(slugSchema.safeParse(text).success).toBe(false);
        expect(functionIdSchema.safeParse(text).success).toBe(false);
        if (parts[1] !== '.') expect(eventNameSchema.safeParse(text).success).toBe(false);
      }),
    );
  });

  test.each(['', '-a', 'a-', 'A', 'a_b', 'a'.repeat(41), 'a\n'])(
    'are refused with the rule: slug %j',
    (slug) => {
      expect(messageOf(slugSchema.safeParse(slug))).toMatch(/1 to 40 of a-z, 0-9/);
    },
  );

  test.each(['', 'a.b', 'a'.repeat(129), 'a b', 'a\n'])('are refused with the rule: id %j', (id) => {
    expect(messageOf(functionIdSchema.safeParse(id))).toMatch(/1 to 128 of A-Z/);
  });

  test.each([
    ['', /dot-separated tokens/],
    ['a..b', /dot-separated tokens/],
    ['a.*', /dot-separated tokens/],
    ['a b', /dot-separated tokens/],
    ['a.b.c.d.e.f.g.h.i', /at most 8/],
    ['a'.repeat(257), /at most 256 bytes/],
  ])('are refused with the rule: event name %j', (name, rule) => {
    expect(messageOf(eventNameSchema.safeParse(name))).toMatch(rule);
  });

  test('leave the platform’s own events to the platform', () => {
    expect(messageOf(emittedEventNameSchema.safeParse('ironflow.cron.a'))).toMatch(/reserved/);
    expect(eventNameSchema.safeParse('ironflow.cron.a').success).toBe(true);
    expect(emittedEventNameSchema.safeParse('ironflows.cron').success).toBe(true);
  });
});

describe('a trigger’s pattern', () => {
  test('matches the very name, whatever it is', () => {
    fc.assert(fc.property(anyEventName, (name) => matchesEventPattern(name, name)));
  });

  test('matches with any of its tokens as "*", and with any end as ">"', () => {
    fc.assert(
      fc.property(anyTokens, fc.nat(7), (tokens, at) => {
        fc.pre(tokens[0] !== 'ironflow');
        const index = at % tokens.length;
        const star = tokens.map((token, place) => (place === index ? '*' : token)).join('.');
        const rest = [...tokens.slice(0, index), '>'].join('.');
        for (const pattern of [star, rest]) {
          expect(eventPatternSchema.safeParse(pattern).success).toBe(true);
          expect(matchesEventPattern(pattern, tokens.join('.'))).toBe(true);
        }
        expect(matchesEventPattern(star, `${tokens.join('.')}.more`)).toBe(false);
        expect(matchesEventPattern(`${tokens.join('.')}.>`, tokens.join('.'))).toBe(false);
      }),
    );
  });

  test.each([
    ['order.*', 'order.placed', true],
    ['order.*', 'order.placed.twice', false],
    ['order.*', 'order', false],
    ['order.>', 'order.placed.twice', true],
    ['*.placed', 'order.placed', true],
    ['>', 'order.placed', true],
    ['order', 'Order', false],
  ])('%s on %s: %s', (pattern, name, expected) => {
    expect(matchesEventPattern(pattern, name)).toBe(expected);
  });

  test.each(['>', '*.*.*', '*.>', '*.cron.*'])('%s does not reach the platform’s own events', (pattern) => {
    expect(matchesEventPattern(pattern, 'ironflow.cron.nightly')).toBe(false);
  });

  test.each(['a.>.b', '>.a', 'a*', 'a.b>', '', 'a..b'])('is refused with the rule: %j', (pattern) => {
    expect(messageOf(eventPatternSchema.safeParse(pattern))).toMatch(/"\*" stands for one token/);
  });
});
