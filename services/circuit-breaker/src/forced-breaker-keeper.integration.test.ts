import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import {
  createDatabase,
  createEnvelope,
  createForcedBreakerList,
  createForcedBreakerStore,
  createTenantStore,
  migrate,
  serviceUrl,
} from '@ironflow/database';
import type { Database, ForcedBreakerList, ForcedBreakerStore } from '@ironflow/database';
import { connectJetStream } from '@ironflow/jetstream';
import type { JetStream } from '@ironflow/jetstream';
import { circuitKey, circuitStateSchema, closedCircuit, forcedOpen } from '@ironflow/schema';
import type { CircuitParts, CircuitState } from '@ironflow/schema';
import { createLogger } from '@ironflow/service';
import { createManualClock, eventually, startTestServers } from '@ironflow/testing';
import type { ManualClock, TestServers } from '@ironflow/testing';
import { createCircuitViews } from './circuit-views.js';
import { createForcedBreakerKeeper } from './forced-breaker-keeper.js';

const logger = createLogger({ service: 'circuit-breaker', level: 'silent' });
const sweepMs = 30_000;
const dayMs = 86_400_000;
let servers: TestServers;
let platform: Database;
let tenant: Database;
let jetstream: JetStream;
let store: ForcedBreakerStore;
let environmentId: string;
let of: CircuitParts;
const undo: (() => unknown)[] = [];

beforeAll(async () => {
  servers = await startTestServers();
  const ownerUrl = await servers.createDatabase();
  const servicePasswords = { service: 'service-password', tenant: 'tenant-password' };
  await migrate({ ownerUrl, log: () => undefined, servicePasswords });
  const connect = (role: 'ironflow_service' | 'ironflow_tenant', password: string): Database =>
    createDatabase({ url: serviceUrl(ownerUrl, role, password), applicationName: role });
  platform = connect('ironflow_service', servicePasswords.service);
  tenant = connect('ironflow_tenant', servicePasswords.tenant);
  const secrets = createEnvelope(randomBytes(32).toString('base64'));
  const place = { organization: 'acme', project: 'shop', env: 'prod' };
  ({ environmentId } = (await createTenantStore(platform, secrets).createEnvironment(place)).scope);
  store = createForcedBreakerStore(tenant);
  jetstream = await connectJetStream({ url: servers.natsUrl, name: 'test', replicas: 1 });
}, 60_000);
beforeEach(() => {
  of = {
    environmentId,
    functionId: `f${randomBytes(4).toString('hex')}`,
    endpoint: 'https://shop.test/api',
  };
});
afterAll(async () => {
  await jetstream.close();
  await Promise.all([platform.close(), tenant.close()]);
  await servers.stop();
});

/** A keeper that has looked once. */
async function startKeeper(
  list: ForcedBreakerList = createForcedBreakerList(platform),
): Promise<{ clock: ManualClock; stop: () => Promise<void> }> {
  const clock = createManualClock(Date.now());
  const bucket = jetstream.bucket('SYS_circuit_breakers');
  const { connection } = jetstream;
  const views = createCircuitViews({ bucket, connection, logger, clock });
  await views.start();
  const keeper = createForcedBreakerKeeper({ bucket, views, store: list, connection, logger, clock });
  keeper.start();
  const stop = async (): Promise<void> => {
    await keeper.stop();
    views.stop();
  };
  undo.push(stop);
  return { clock, stop };
}

async function stateOf(parts: CircuitParts): Promise<CircuitState | undefined> {
  const entry = await jetstream.bucket('SYS_circuit_breakers').get(circuitKey(parts));
  return entry === undefined ? undefined : circuitStateSchema.parse(JSON.parse(entry.value));
}

/** Each time a sweep is over, time goes on to the next one. */
const afterSweeps = (clock: ManualClock, check: () => Promise<void>): Promise<void> =>
  eventually(
    async () => {
      await clock.advance(sweepMs);
      await check();
    },
    { timeoutMs: 15_000 },
  );

test('what an operator forces open outlives the loss of all of NATS, and its reset does too', async () => {
  const forced = await store.force(of, undefined);
  const { clock, stop } = await startKeeper();
  await eventually(async () => expect(await stateOf(of)).toMatchObject({ state: 'open', forced }));
  await servers.nats.restart({ wipe: true });
  await afterSweeps(clock, async () => {
    await jetstream.provisioner.ensure();
    expect(await stateOf(of)).toMatchObject({ state: 'open', forced });
  });
  // The api died before it told executors.
  await store.release(of);
  await afterSweeps(clock, async () => expect((await stateOf(of))?.state).toBe('closed'));
  await stop();
}, 60_000);

test('a state that is as it should be is written once a day, well before it expires', async () => {
  const forced = await store.force(of, undefined);
  if (forced === 'too_many') throw new Error('too many');
  const bucket = jetstream.bucket('SYS_circuit_breakers');
  const { clock, stop } = await startKeeper();
  await eventually(async () => expect(await stateOf(of)).toBeDefined());
  const revision = async (): Promise<number> => (await bucket.get(circuitKey(of)))!.revision;
  const first = await revision();
  // Another breaker, forced meanwhile, shows that a sweep has been.
  const other = { ...of, functionId: `${of.functionId}-other` };
  await store.force(other, undefined);
  await afterSweeps(clock, async () => expect(await stateOf(other)).toBeDefined());
  expect(await revision()).toBe(first);
  await clock.advance(dayMs);
  await afterSweeps(clock, async () => expect(await revision()).toBeGreaterThan(first));
  await stop();
});

test('one that was forced anew is brought up to date, and not taken back to what it was', async () => {
  const first = await store.force(of, 3_600_000);
  const second = await store.force(of, undefined);
  if (first === 'too_many' || second === 'too_many') throw new Error('too many');
  expect(second.untilMs).toBeUndefined();
  const bucket = jetstream.bucket('SYS_circuit_breakers');
  await bucket.put(circuitKey(of), JSON.stringify(forcedOpen(undefined, of, first)));
  // The rows may have been read just before.
  const newer = { ...of, functionId: `${of.functionId}-newer` };
  const read = await store.force(newer, undefined);
  if (read === 'too_many') throw new Error('too many');
  const later = { sinceMs: read.sinceMs + 1_000, untilMs: read.sinceMs + 3_600_000 };
  await bucket.put(circuitKey(newer), JSON.stringify(forcedOpen(undefined, newer, later)));
  const { stop } = await startKeeper();
  await eventually(async () => expect((await stateOf(of))!.forced).toEqual(second));
  await stop();
  expect((await stateOf(newer))!.forced).toEqual(later);
});

test('one that is reset while the keeper is at work stays so', async () => {
  const bucket = jetstream.bucket('SYS_circuit_breakers');
  const list = createForcedBreakerList(platform);
  const reset = async (): Promise<void> => {
    await store.release(of);
    await bucket.put(circuitKey(of), JSON.stringify(closedCircuit(of, Date.now())));
  };
  await store.force(of, undefined);
  let after: 'list' | 'find' = 'list';
  const isOver: string[] = [];
  const { clock, stop } = await startKeeper({
    list: async () => {
      const rows = await list.list();
      if (after === 'list') await reset();
      return rows;
    },
    find: async (parts) => {
      const row = await list.find(parts);
      if (after === 'find') await reset();
      isOver.push(after);
      return row;
    },
  });
  await eventually(() => expect(isOver).toContain('list'));
  expect((await stateOf(of))?.state).toBe('closed');
  after = 'find';
  await store.force(of, undefined);
  await afterSweeps(clock, async () => expect(isOver).toContain('find'));
  await stop();
  expect((await stateOf(of))?.state).toBe('closed');
});

test('what is over is forgotten, and left to a probe', async () => {
  await store.force(of, 1);
  const over = { sinceMs: Date.now() - 10_000, untilMs: Date.now() - 5_000 };
  const bucket = jetstream.bucket('SYS_circuit_breakers');
  await bucket.put(circuitKey(of), JSON.stringify(forcedOpen(undefined, of, over)));
  const { stop } = await startKeeper();
  const rows = (): Promise<unknown[]> =>
    platform.query({ name: 'test_rows', text: 'select from forced_breakers where function_id = $1' }, [
      of.functionId,
    ]);
  await eventually(async () => expect(await rows()).toEqual([]));
  await stop();
  expect(await stateOf(of)).toMatchObject({ state: 'open', forced: over });
});
