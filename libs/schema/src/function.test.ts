import { expect, test } from '@jest/globals';
import { appManifestSchema, functionConfigSchema, isCronTrigger } from './function.js';
import { describeIssue } from './issue.js';

const refusal = (config: unknown) => {
  const parsed = functionConfigSchema.safeParse(config);
  if (parsed.success) return undefined;
  const { field, message } = describeIssue(parsed.error.issues[0]!);
  return `${field}: ${message}`;
};
const withTrigger = (trigger: unknown) => ({ id: 'f', triggers: [trigger] });

test('every default is filled in', () => {
  expect(
    functionConfigSchema.parse({ id: 'f', triggers: [{ event: 'a.*' }, { cron: '* * * * *' }] }),
  ).toEqual({
    id: 'f',
    triggers: [{ event: 'a.*' }, { cron: '* * * * *', timezone: 'UTC' }],
    retries: { attempts: 3, initialDelayMs: 1_000, factor: 2, maxDelayMs: 300_000 },
  });
  expect(functionConfigSchema.parse({ id: 'f', triggers: [], retries: { attempts: 7 } }).retries).toEqual({
    attempts: 7,
    initialDelayMs: 1_000,
    factor: 2,
    maxDelayMs: 300_000,
  });
});

test.each([
  [{ triggers: [] }, /^id: /],
  [{ id: 'a b', triggers: [] }, /^id: must be 1 to 128 of/],
  [{ id: 'f' }, /^triggers: /],
  [{ id: 'f', triggers: [], retires: 3 }, /^retires: is not a known field$/],
  [{ id: 'f', triggers: [], retries: { attempts: 0 } }, /^retries\.attempts: /],
  [{ id: 'f', triggers: [], retries: { attempt: 2 } }, /^retries\.attempt: is not a known field$/],
  [{ id: 'f', triggers: [], retries: { maxDelayMs: 86_400_001 } }, /^retries\.maxDelayMs: /],
  [{ id: 'f', name: '', triggers: [] }, /^name: /],
  [withTrigger({}), /^triggers\[0\]: must be \{ event, if\? \} or \{ cron, timezone\? \}$/],
  [withTrigger({ event: 'a', cron: '* * * * *' }), /^triggers\[0\]: must be \{ event, if\? \}/],
  [withTrigger('a'), /^triggers\[0\]: /],
  [withTrigger({ event: 'a b' }), /^triggers\[0\]\.event: must be dot-separated tokens/],
  [withTrigger({ event: 'ironflow.cron.f' }), /^triggers\[0\]\.event: .*reserved/],
  [withTrigger({ event: 'a', when: 'true' }), /^triggers\[0\]\.when: is not a known field$/],
  [withTrigger({ event: 'a', if: '' }), /^triggers\[0\]\.if: /],
  [withTrigger({ event: 'a', if: 'é'.repeat(2_049) }), /^triggers\[0\]\.if: must be at most 4096 bytes$/],
  [withTrigger({ cron: 5 }), /^triggers\[0\]\.cron: /],
  [withTrigger({ cron: '* * * * *', id: 'a.b' }), /^triggers\[0\]\.id: must be 1 to 64 of/],
  [withTrigger({ cron: '* * * * *', jitterMs: 3_600_001 }), /^triggers\[0\]\.jitterMs: /],
  [withTrigger({ cron: '* * * * *', overlap: 'wait' }), /^triggers\[0\]\.overlap: /],
  [withTrigger({ cron: '* * * * *', catchUpMs: 9_999 }), /^triggers\[0\]\.catchUpMs: /],
  [withTrigger({ cron: '* * * * *', jitter: 5 }), /^triggers\[0\]\.jitter: is not a known field$/],
  [
    { id: 'f', triggers: [{ cron: '* * * * *' }, { cron: '* * * * *', jitterMs: 5 }] },
    /^triggers\[1\]\.cron: has the cron and timezone of another trigger/,
  ],
  [
    {
      id: 'f',
      triggers: [
        { cron: '0 1 * * *', id: 'a' },
        { cron: '0 2 * * *', id: 'a' },
      ],
    },
    /^triggers\[1\]\.id: is the id of another trigger$/,
  ],
  [{ id: 'f', triggers: [], circuitBreaker: { failureRatio: 0 } }, /^circuitBreaker\.failureRatio: /],
  [{ id: 'f', triggers: [], circuitBreaker: { opens: 5 } }, /^circuitBreaker\.opens: is not a known field$/],
  [{ id: 'f', triggers: Array.from({ length: 21 }, () => ({ event: 'a' })) }, /^triggers: /],
])('is refused naming the field: %j', (config, expected) => {
  expect(refusal(config)).toMatch(expected);
});

test('an app is refused that names a function twice, or whose mode and URL do not fit', () => {
  const f = { id: 'f', triggers: [] };
  const refusalOf = (app: unknown) => {
    const parsed = appManifestSchema.safeParse(app);
    return parsed.success ? undefined : describeIssue(parsed.error.issues[0]!);
  };
  expect(refusalOf({ id: 'a', mode: 'pull', functions: [f] })).toBeUndefined();
  expect(refusalOf({ id: 'a', mode: 'push', url: 'https://a.example/x', functions: [f] })).toBeUndefined();
  expect(refusalOf({ id: 'a', mode: 'pull', functions: [f, f] })).toEqual({
    field: 'functions[1].id',
    message: '"f" is registered twice',
  });
  expect(refusalOf({ id: 'a', mode: 'push', functions: [] })).toMatchObject({ field: 'url' });
  expect(refusalOf({ id: 'a', mode: 'pull', url: 'http://a', functions: [] })).toMatchObject({
    field: 'url',
  });
  for (const url of ['ftp://a', 'http://a/\0', `http://a/${'世'.repeat(700)}`]) {
    expect(refusalOf({ id: 'a', mode: 'push', url, functions: [] })).toMatchObject({ field: 'url' });
  }
});

test('what was broken is told without the value', () => {
  expect(refusal({ id: 'secret value', triggers: [] })).not.toContain('secret');
  expect(refusal(withTrigger({ event: 'secret value' }))).not.toContain('secret');
});

test('a trigger is one or the other', () => {
  expect(isCronTrigger({ cron: '* * * * *', timezone: 'UTC' })).toBe(true);
  expect(isCronTrigger({ event: 'a' })).toBe(false);
});

test('a cron trigger that is repeated word for word, or has other times, is fine', () => {
  const triggers = [
    { cron: '* * * * *', jitterMs: 5 },
    { cron: '* * * * *', timezone: 'UTC', jitterMs: 5 },
    { cron: '* * * * *', timezone: 'Europe/Berlin', id: 'berlin', overlap: 'skip', catchUpMs: 10_000 },
  ];
  expect(refusal({ id: 'f', triggers })).toBeUndefined();
});
