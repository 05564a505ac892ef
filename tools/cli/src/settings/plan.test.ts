import { describe, expect, test } from '@jest/globals';
import { parseSettings } from './document.js';
import { differencesOf, planSettings } from './plan.js';
import type { CurrentSettings } from './plan.js';

const empty: CurrentSettings = {
  version: 1,
  config: {},
  kv: {},
  webhooks: {},
  functions: {},
  schedules: {},
  secrets: [],
  quotas: {},
  retention: {},
};
const plan = (yaml: string, current: Partial<CurrentSettings> = {}, prune = false) =>
  planSettings({ ...empty, ...current }, parseSettings(`version: 1\n${yaml}`, 'ironflow.yaml'), { prune });

test('what is there as it is wanted is not touched, defaults included', () => {
  const current: Partial<CurrentSettings> = {
    config: { pricing: { currency: 'EUR' } },
    kv: { sessions: { history: 1, maxBytes: 67_108_864 } },
    webhooks: { main: { provider: 'github', eventPrefix: 'github', headers: [], paused: false } },
    functions: { send: { paused: false } },
    secrets: ['STRIPE_KEY'],
    quotas: { queuedRuns: 5 },
    retention: { days: 30 },
  };
  const yaml = `
config: { pricing: { currency: EUR } }
kv: { sessions: {} }
webhooks: { main: { provider: github } }
functions: { send: { paused: false } }
secrets: [STRIPE_KEY]
quotas: { queuedRuns: 5, eventsPerSecond: null }
retention: { days: 30 }`;
  expect(plan(yaml, current)).toEqual({ changes: [], obstacles: [] });
});

test('changes come in the order in which they are made', () => {
  const yaml = `
functions: { send: { paused: true } }
config: { b: 2, a: { x: 1 } }
kv: { sessions: { ttlSeconds: 60 } }
quotas: { queuedRuns: null }
retention: { days: null }`;
  const current = {
    functions: { send: { paused: false } },
    config: { a: { x: 0, y: 1 } },
    quotas: { queuedRuns: 5 },
    retention: { days: 30 },
  };
  expect(plan(yaml, current).changes).toEqual([
    { section: 'quotas', name: 'queuedRuns', kind: 'delete', before: 5 },
    { section: 'retention', name: 'days', kind: 'delete', before: 30 },
    {
      section: 'kv',
      name: 'sessions',
      kind: 'create',
      after: { ttlSeconds: 60, history: 1, maxBytes: 67_108_864 },
    },
    { section: 'config', name: 'a', kind: 'update', before: { x: 0, y: 1 }, after: { x: 1 } },
    { section: 'config', name: 'b', kind: 'create', after: 2 },
    {
      section: 'functions',
      name: 'send',
      kind: 'update',
      before: { paused: false },
      after: { paused: true },
    },
  ]);
});

test('of a function only what is named changes, and a limit that is null is none', () => {
  const current = { functions: { send: { paused: true, concurrency: 5 }, free: { paused: false } } };
  expect(
    plan('functions: { send: { concurrency: 7 }, free: { concurrency: null } }', current).changes,
  ).toEqual([
    {
      ...{ section: 'functions', name: 'send', kind: 'update' },
      before: { paused: true, concurrency: 5 },
      after: { paused: true, concurrency: 7 },
    },
  ]);
  const [freed] = plan('functions: { send: { concurrency: null } }', current).changes;
  expect(freed?.after).toEqual({ paused: true });
});

test('what is not named stays; pruned it goes, of the sections that are there and no others', () => {
  const current = {
    config: { a: 1, old: 2 },
    kv: { sessions: { history: 1, maxBytes: 1 } },
    functions: { send: { paused: true } },
  };
  const yaml = 'config: { a: 1 }\nfunctions: {}';
  expect(plan(yaml, current).changes).toEqual([]);
  expect(plan(yaml, current, true).changes).toEqual([
    { section: 'config', name: 'old', kind: 'delete', before: 2 },
  ]);
});

test('what settings cannot do is told, all of it', () => {
  const webhook = { provider: 'github' as const, eventPrefix: 'github', headers: [], paused: false };
  const current = { webhooks: { one: webhook, two: webhook }, secrets: ['THERE'] };
  const yaml = `
webhooks: { one: { provider: stripe }, two: { provider: github, paused: true } }
functions: { unknown: { paused: true } }
secrets: [THERE, MISSING]`;
  expect(plan(yaml, current).obstacles.map(({ section, name }) => `${section} ${name}`)).toEqual([
    'webhooks one',
    'functions unknown',
    'secrets MISSING',
  ]);
});

test('a difference is told by the fields that differ', () => {
  expect(differencesOf({ a: { b: 1, c: [1] }, d: 0 }, { a: { b: 2, c: [1] }, e: null })).toEqual([
    { path: 'a.b', before: 1, after: 2 },
    { path: 'd', before: 0, after: undefined },
    { path: 'e', before: undefined, after: null },
  ]);
  expect(differencesOf(1, { a: 1 })).toEqual([{ path: '', before: 1, after: { a: 1 } }]);
});

describe('a file that is wrong is refused with the place', () => {
  test.each([
    ['version: 2', /^f:1:10: version /],
    ['version: 1\nconfg: {}', /^f:1:1: confg is not a known field/],
    ['version: 1\nkv:\n  sessions: { ttlSeconds: soon }', /^f:3:27: kv\.sessions\.ttlSeconds /],
    ['version: 1\nwebhooks:\n  own:\n    provider: custom', /^f:\d:\d+: webhooks\.own\.scheme is required/],
    ['version: 1\nconfig: { a: .nan }', /^f:2:14: config\.a /],
    ['version: 1\na: [', /^f:2:5: /],
    ['version: 1\nversion: 1', /^f:2:1: /],
    ['version: 1\nquotas: { queuedRuns: 0 }', /^f:2:23: quotas\.queuedRuns /],
    ['', /^f:1:1: /],
  ])('%j', (text, reason) => {
    expect(() => parseSettings(text, 'f')).toThrow(reason);
  });
});
