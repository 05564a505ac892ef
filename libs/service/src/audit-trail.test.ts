import { beforeEach, expect, test } from '@jest/globals';
import type { NewAuditEntry, Principal } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import { routes } from '@ironflow/schema';
import type { Route } from '@ironflow/schema';
import { createManualClock } from '@ironflow/testing';
import type { ManualClock } from '@ironflow/testing';
import type { FastifyRequest } from 'fastify';
import { createAuditTrail, enterRoute, tellAudit } from './audit-trail.js';
import type { AuditTrail } from './audit-trail.js';
import { createLogger } from './logger.js';
import { createMetrics } from './metrics.js';

const environmentId = '01890000-0000-7000-8000-000000000000';
const principal: Principal = {
  scope: { project: 'shop', env: 'prod', environmentId },
  keyId: 'the key',
  role: 'admin',
  scopes: [],
  archived: false,
};
let clock: ManualClock;
let trail: AuditTrail;
/** What the store took; it fails as long as `isAway`. */
let written: { environmentId: string; entry: NewAuditEntry }[];
let isAway: boolean;

beforeEach(() => {
  clock = createManualClock();
  written = [];
  isAway = false;
  trail = createAuditTrail({
    store: {
      append: (id, entry) => {
        if (isAway) return Promise.reject(new Error('the database is away'));
        return Promise.resolve(written.push({ environmentId: id, entry }));
      },
    },
    logger: createLogger({ service: 'test', level: 'silent' }),
    metrics: createMetrics({ service: 'test' }),
    clock,
  });
});

async function requestOf(
  route: Route,
  { params = {}, by = principal }: { params?: object; by?: Principal | null } = {},
): Promise<FastifyRequest> {
  const request = { id: 'request', ip: '192.0.2.1', params, principal: by, audit: null };
  await enterRoute(route)(request as unknown as FastifyRequest);
  return request as unknown as FastifyRequest;
}

const minuteMs = 60_000;
const notFound = new IronflowError('not_found', 'run_not_found', 'there is no such run');

test('of a path that has several parts the target has all, and of one that is a credential none', async () => {
  const nested: Route = { ...routes.cancelRun, path: '/v1/buckets/:bucket/keys/:key', audit: 'key.delete' };
  await trail.write(await requestOf(nested, { params: { bucket: 'a', key: 'b' } }));
  const byLink = await requestOf(routes.decideByLink, { params: { token: 'ifa_secret' }, by: null });
  await trail.write(byLink);
  expect(written.map(({ entry }) => entry.target)).toEqual([{ kind: 'buckets', id: 'a/b' }]);
  const actor = { kind: 'link', id: 'the link' } as const;
  const decided = await requestOf(routes.decideByLink, { params: { token: 'ifa_secret' }, by: null });
  tellAudit(decided, { environmentIds: [environmentId], actor, details: { approved: true } });
  await trail.write(decided);
  expect(written[1]!.entry).toMatchObject({
    actor,
    target: { kind: 'approvals' },
    details: { approved: true },
  });
  expect(JSON.stringify(written)).not.toContain('ifa_secret');
});

test('what cannot be written is refused, and said', async () => {
  isAway = true;
  const writing = trail.write(await requestOf(routes.cancelRun, { params: { id: 'r' } }));
  await expect(writing).rejects.toMatchObject({ category: 'unavailable', code: 'audit_unavailable' });
});

test('refusals are written a minute after the first, and what cannot be is kept for the next time', async () => {
  const request = await requestOf(routes.getRun, { params: { id: 'r' } });
  trail.countRefusal(request, notFound);
  await clock.advance(minuteMs - 1);
  trail.countRefusal(request, notFound);
  expect(written).toEqual([]);
  isAway = true;
  await clock.advance(1);
  expect(written).toEqual([]);
  isAway = false;
  trail.countRefusal(request, notFound);
  await clock.advance(minuteMs);
  expect(written).toMatchObject([{ environmentId, entry: { outcome: 'refused', count: 3 } }]);
  await clock.advance(minuteMs * 10);
  expect([written.length, clock.pending]).toEqual([1, 0]);
});

test('what was refused within the last minute is written as the service stops, and no timer is left', async () => {
  trail.countRefusal(await requestOf(routes.cancelRun), notFound);
  await trail.stop();
  expect(written).toMatchObject([{ entry: { action: 'run.cancel', code: 'run_not_found' } }]);
  trail.countRefusal(await requestOf(routes.cancelRun), notFound);
  isAway = true;
  await trail.stop();
  expect([written.length, clock.pending]).toEqual([1, 0]);
});

test('nobody’s refusals, and errors that refuse nobody anything, are not counted', async () => {
  trail.countRefusal(await requestOf(routes.getRun, { by: null }), notFound);
  const request = await requestOf(routes.getRun);
  trail.countRefusal(request, new IronflowError('conflict', 'run_ended', 'it has ended'));
  trail.countRefusal(request, new Error('broken'));
  expect(clock.pending).toBe(0);
});
