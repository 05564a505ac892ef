import { describe, expect, test } from '@jest/globals';
import { planOf, tenantStateOf } from './tenant-states.js';
import type { TenantAction, TenantTimes } from './tenant-states.js';

const now = new Date('2030-01-02T00:00:00Z');
const before = new Date('2030-01-01T00:00:00Z');
const later = new Date('2030-01-03T00:00:00Z');
const active: TenantTimes = { archivedAt: null, eraseAfter: null, erasedAt: null };
const archived = { ...active, archivedAt: before };
const deleting = { ...archived, eraseAfter: later };
const due = { ...archived, eraseAfter: now };
const erased = { ...due, erasedAt: now };

test('a state is what its times say', () => {
  expect([active, archived, deleting, due, erased].map(tenantStateOf)).toEqual([
    'active',
    'archived',
    'deleting',
    'deleting',
    'erased',
  ]);
});

describe('what is asked for', () => {
  test.each<[TenantAction, string, TenantTimes, ReturnType<typeof planOf>]>([
    ['archive', 'active', active, 'change'],
    ['archive', 'archived', archived, 'unchanged'],
    ['archive', 'deleted', deleting, 'unchanged'],
    ['restore', 'active', active, 'unchanged'],
    ['restore', 'archived', archived, 'change'],
    ['restore', 'deleted', deleting, 'change'],
    ['delete', 'active', active, 'change'],
    ['delete', 'archived', archived, 'change'],
    ['delete', 'deleted', deleting, 'change'],
    ['archive', 'deleted and due', due, 'ended'],
    ['restore', 'deleted and due', due, 'ended'],
    ['delete', 'deleted and due', due, 'ended'],
    ['restore', 'erased', erased, 'ended'],
  ])('%s of one that is %s', (action, _state, times, plan) => {
    expect(planOf(action, times, now)).toBe(plan);
  });
});
