import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { randomBytes } from 'node:crypto';
import {
  createCronStore,
  createDatabase,
  createEnvelope,
  createIngestStore,
  createScheduleStore,
  createTenantStore,
  migrate,
  registerApp,
  serviceUrl,
} from '@ironflow/database';
import type { Database, Schedule } from '@ironflow/database';
import { connectJetStream } from '@ironflow/jetstream';
import type { Bucket, JetStream } from '@ironflow/jetstream';
import { firingEventId } from '@ironflow/schedule';
import { consumers, idTimeMs, ingestMessageSchema, parseSubject, scheduleIdOf } from '@ironflow/schema';
import type { CronTrigger, IngestMessage, Scope } from '@ironflow/schema';
import { createLogger, createMetrics, createSpanRecorder } from '@ironflow/service';
import type { Clock } from '@ironflow/service';
import { eventually, sharedNats, sharedPostgres, stopSharedServers } from '@ironflow/testing';
import type { NatsServer } from '@ironflow/testing';
import { createCron } from './cron.js';
import { toPublication } from './firing-message.js';

const logger = createLogger({ service: 'cron', level: 'silent' });
const spans = createSpanRecorder({ service: 'cron' });

let nats: NatsServer;
let database: Database;
let ours: Scope;
let theirs: Scope;
let observer: JetStream;
/** Of what one test started. */
let stops: (() => unknown)[] = [];
let stopConsumer: () => unknown;
/** What reached INGEST, also twice. */
let received: { message: IngestMessage; subject: string }[] = [];

beforeAll(async () => {
  nats = await sharedNats();
  observer = await connectJetStream({ url: nats.url, name: 'observer', replicas: 1 });
  const consumer = observer.consume(consumers.ingest, {
    capacity: () => 1_000,
    onDelivery: (delivery) => {
      const message = ingestMessageSchema.parse(JSON.parse(delivery.text()));
      received.push({ message, subject: delivery.subject });
      delivery.ack();
    },
  });
  stopConsumer = () => consumer.stop();
});
beforeEach(async () => {
  const ownerUrl = await (await sharedPostgres()).createDatabase();
  const passwords = { service: 'service', tenant: 'tenant' };
  await migrate({ ownerUrl, log: () => undefined, servicePasswords: passwords });
  database = createDatabase({
    url: serviceUrl(ownerUrl, 'ironflow_service', passwords.service),
    applicationName: 'cron test',
  });
  const tenants = createTenantStore(database, createEnvelope(randomBytes(32).toString('base64')));
  ours = (await tenants.createEnvironment({ organization: 'acme', project: 'shop', env: 'prod' })).scope;
  theirs = (await tenants.createEnvironment({ organization: 'other', project: 'bank', env: 'prod' })).scope;
  received = [];
  stops = [];
});
afterEach(async () => {
  for (const stop of stops.reverse()) await stop();
  await database.close();
});
afterAll(async () => {
  await stopConsumer();
  await observer.close();
  await stopSharedServers();
});

async function startCron(clock?: Clock): Promise<{ stop(): Promise<void> }> {
  const jetstream = await connectJetStream({ url: nats.url, name: 'cron', replicas: 1 });
  const metrics = createMetrics({ service: 'cron' });
  const cron = createCron({ jetstream, database, logger, metrics, spans, ...(clock && { clock }) });
  await cron.start();
  let stopped: Promise<void> | undefined;
  const stop = (): Promise<void> =>
    (stopped ??= (async () => {
      await cron.stop();
      await metrics.stop();
      await jetstream.close();
    })());
  stops.push(stop);
  return { stop };
}

async function register(scope: Scope, triggers: CronTrigger[], functionId = 'report'): Promise<void> {
  await registerApp(database, scope.environmentId, {
    id: `app-${functionId}`,
    mode: 'pull',
    functions: [
      {
        id: functionId,
        triggers,
        retries: { attempts: 1, initialDelayMs: 0, factor: 1, maxDelayMs: 0 },
      },
    ],
  });
  await observer.bucket('SYS_functions').put(scope.environmentId, JSON.stringify({ version: 1 }));
}

const everySecond: CronTrigger = { cron: '* * * * * *', timezone: 'UTC' };
function eventIdOf({ scope, functionId, trigger }: Schedule, scheduledAtMs: number): string {
  return firingEventId({ environmentId: scope.environmentId, functionId, trigger }, scheduledAtMs);
}
const triggers = (): Bucket => observer.bucket('SYS_cron_triggers');

function idsOf(scope: Scope): string[] {
  return received
    .filter(({ message }) => message.environmentId === scope.environmentId)
    .map(({ message }) => message.id);
}

const distinctTimes = (scope: Scope): number[] =>
  [...new Set(idsOf(scope))].map(idTimeMs).sort((a, b) => a - b);

async function waitForTimes(scope: Scope, count: number, timeoutMs = 15_000): Promise<void> {
  await eventually(() => expect(distinctTimes(scope).length).toBeGreaterThanOrEqual(count), { timeoutMs });
}

function expectEverySecond(times: number[]): void {
  expect(times).toEqual(times.map((_, index) => times[0]! + index * 1_000));
}

test('two replicas fire every second of two environments, each exactly once', async () => {
  await Promise.all([startCron(), startCron()]);
  await Promise.all([register(ours, [everySecond]), register(theirs, [everySecond])]);
  await waitForTimes(ours, 5);
  await waitForTimes(theirs, 5);
  for (const scope of [ours, theirs]) {
    expectEverySecond(distinctTimes(scope));
    expect(idsOf(scope)).toHaveLength(distinctTimes(scope).length);
  }
  const first = received.find(({ message }) => message.environmentId === ours.environmentId)!;
  expect(parseSubject(first.subject)).toEqual({
    kind: 'ingest',
    project: 'shop',
    env: 'prod',
    eventName: 'ironflow.cron.report',
  });
  expect(first.message).toMatchObject({ name: 'ironflow.cron.report', source: 'cron' });
  expect(JSON.parse(first.message.data)).toEqual({
    ...everySecond,
    scheduledAt: new Date(idTimeMs(first.message.id)).toISOString(),
    schedule: scheduleIdOf('report', everySecond),
    cause: 'time',
  });
});

test('a schedule that is registered now fires no time of the past', async () => {
  await register(ours, [everySecond]);
  const [schedule] = await createCronStore(database).schedules();
  await startCron();
  await waitForTimes(ours, 2);
  expect(distinctTimes(ours)[0]).toBeGreaterThanOrEqual(schedule!.beginsAtMs);
});

test('a replica that starts late fires what came up while nobody was there', async () => {
  await register(ours, [everySecond]);
  const [schedule] = await createCronStore(database).schedules();
  await eventually(async () => expect(await database.now()).toBeGreaterThan(schedule!.beginsAtMs + 3_000));
  await startCron();
  await waitForTimes(ours, 3, 1_500);
  expect(distinctTimes(ours)[0]! - schedule!.beginsAtMs).toBeLessThan(1_000);
});

test('what a replica claimed before it died is fired by another within seconds, and only once', async () => {
  await register(ours, [everySecond]);
  const [schedule] = await createCronStore(database).schedules();
  // The dead replica had won the third second from now.
  const deadMs = Math.ceil((await database.now()) / 1_000) * 1_000 + 2_000;
  const deadId = eventIdOf(schedule!, deadMs);
  expect(await triggers().create(deadId, 'claimed')).toBe(true);
  await Promise.all([startCron(), startCron()]);
  await eventually(() => expect(idsOf(ours)).toContain(deadId), { timeoutMs: 10_000 });
  expect((await database.now()) - deadMs).toBeLessThan(4_000);
  await eventually(async () => expect((await triggers().get(deadId))?.value).toBe('fired'));
  expect(idsOf(ours).filter((id) => id === deadId)).toHaveLength(1);
  await waitForTimes(ours, 6);
  expectEverySecond(distinctTimes(ours));
});

test('what a replica published before it died, and did not mark, is there once', async () => {
  await register(ours, [everySecond]);
  const [schedule] = await createCronStore(database).schedules();
  const deadMs = Math.ceil((await database.now()) / 1_000) * 1_000 + 2_000;
  const eventId = eventIdOf(schedule!, deadMs);
  expect(await triggers().create(eventId, 'claimed')).toBe(true);
  const progress = { isOurs: true, claimSeenAtMs: undefined };
  const firing = {
    schedule: schedule!,
    scheduledAtMs: deadMs,
    dueAtMs: deadMs,
    eventId,
    isLookedBackAt: false,
    progress,
  };
  expect(await observer.publisher.publish(toPublication(firing, undefined))).toMatchObject({
    kind: 'stored',
  });
  await Promise.all([startCron(), startCron()]);
  await eventually(async () => expect((await triggers().get(eventId))?.value).toBe('fired'), {
    timeoutMs: 15_000,
  });
  await waitForTimes(ours, 6);
  expect(idsOf(ours).filter((id) => id === eventId)).toHaveLength(1);
  expectEverySecond(distinctTimes(ours));
});

test('what is marked as fired is not published again', async () => {
  await register(ours, [everySecond]);
  const [schedule] = await createCronStore(database).schedules();
  const firedMs = Math.ceil((await database.now()) / 1_000) * 1_000 + 2_000;
  const firedId = eventIdOf(schedule!, firedMs);
  await triggers().put(firedId, 'fired');
  await startCron();
  await eventually(() => expect(distinctTimes(ours).at(-1)).toBeGreaterThan(firedMs + 1_000), {
    timeoutMs: 10_000,
  });
  expect(idsOf(ours)).not.toContain(firedId);
});

test('replicas whose clocks are an hour off fire by Postgres’ clock', async () => {
  const skewed = (byMs: number): Clock => ({
    now: () => Date.now() + byMs,
    setTimeout: (callback, delayMs) => {
      const timer = setTimeout(callback, delayMs);
      return { cancel: () => clearTimeout(timer) };
    },
  });
  const hourMs = 3_600_000;
  await Promise.all([startCron(skewed(-hourMs)), startCron(skewed(hourMs))]);
  await register(ours, [everySecond]);
  await waitForTimes(ours, 4);
  const times = distinctTimes(ours);
  expectEverySecond(times);
  const nowMs = await database.now();
  expect(times.at(-1)).toBeLessThanOrEqual(nowMs);
  expect(nowMs - times.at(-1)!).toBeLessThan(2_000);
});

test('a schedule that was removed stops, a new one begins, without a restart', async () => {
  await startCron();
  await register(ours, [everySecond]);
  await waitForTimes(ours, 2);
  await register(ours, []);
  await register(theirs, [everySecond]);
  // Theirs goes on, so firing does; ours has had no time since.
  await eventually(
    () => {
      const last = distinctTimes(ours).at(-1)!;
      expect(distinctTimes(theirs).at(-1) ?? 0).toBeGreaterThan(last + 2_000);
    },
    { timeoutMs: 10_000 },
  );
});

test('after NATS lost everything, firing goes on without a gap and without a restart', async () => {
  await Promise.all([startCron(), startCron()]);
  await register(ours, [everySecond]);
  await waitForTimes(ours, 3);
  await nats.restart({ wipe: true });
  const restartedMs = await database.now();
  await eventually(() => expect(distinctTimes(ours).at(-1)).toBeGreaterThan(restartedMs + 3_000), {
    timeoutMs: 30_000,
  });
  expectEverySecond(distinctTimes(ours));
}, 60_000);

test('what was settled and lost before it was stored is fired after all, and what was stored is not', async () => {
  const everyMinute: CronTrigger = { cron: '* * * * *', timezone: 'UTC' };
  await register(ours, [everyMinute]);
  const [schedule] = await createCronStore(database).schedules();
  // NATS went away ten minutes ago, within seconds of the last time, and came back with nothing.
  const lostMs = Math.floor((await database.now()) / 60_000 - 10) * 60_000;
  const [storedId, lostId] = [lostMs - 60_000, lostMs].map((timeMs) => eventIdOf(schedule!, timeMs));
  await database.query(
    {
      name: '',
      text: `update schedules set registered_at = now() - interval '1 hour',
        settled_until = to_timestamp($1::float8 / 1000)`,
    },
    [lostMs + 5_000],
  );
  const event = { id: storedId!, name: 'ironflow.cron.report', data: '{}', source: 'cron' as const };
  await createIngestStore(database).storeEvents(ours.environmentId, [event]);
  await startCron();
  await waitForTimes(ours, 11);
  expect(distinctTimes(ours)[0]).toBe(lostMs);
  expect(idsOf(ours)).toContain(lostId);
  expect(idsOf(ours)).not.toContain(storedId);
});

test('start and stop, over and over and at any moment, leave nothing behind and lose no time', async () => {
  await register(ours, [everySecond]);
  for (let round = 0; round < 8; round += 1) await (await startCron()).stop();
  await startCron();
  await waitForTimes(ours, 3);
  expectEverySecond(distinctTimes(ours));
});

describe('a schedule that is paused', () => {
  test('fires no time after that, and goes on from where it is resumed', async () => {
    const schedules = createScheduleStore(database);
    const id = scheduleIdOf('report', everySecond);
    await Promise.all([startCron(), startCron()]);
    await Promise.all([register(ours, [everySecond]), register(theirs, [everySecond])]);
    await waitForTimes(ours, 2);
    // Nobody is told: the replicas find out as they look before they fire.
    const paused = await schedules.pause(ours.environmentId, id);
    const pausedAtMs = paused!.schedule.pausedAtMs!;
    await eventually(() => expect(distinctTimes(theirs).at(-1)).toBeGreaterThan(pausedAtMs + 3_000), {
      timeoutMs: 15_000,
    });
    expect(distinctTimes(ours).at(-1)).toBeLessThanOrEqual(pausedAtMs);
    await schedules.resume(ours.environmentId, id);
    const resumedAtMs = await database.now();
    await observer.bucket('SYS_functions').put(ours.environmentId, JSON.stringify({ version: 1 }));
    await eventually(() => expect(distinctTimes(ours).at(-1)).toBeGreaterThan(resumedAtMs + 1_000), {
      timeoutMs: 15_000,
    });
    const ofPause = distinctTimes(ours).filter((time) => time > pausedAtMs && time < resumedAtMs - 1_000);
    expect(ofPause).toEqual([]);
  });

  test('stays so for a replica that starts', async () => {
    await register(ours, [everySecond]);
    await createScheduleStore(database).pause(ours.environmentId, scheduleIdOf('report', everySecond));
    await register(theirs, [everySecond]);
    await startCron();
    await waitForTimes(theirs, 3);
    expect(distinctTimes(ours).length).toBeLessThanOrEqual(1);
  });
});

test('jitter puts every replica off by as much: each time is there once, and is named by its own moment', async () => {
  await Promise.all([startCron(), startCron()]);
  await register(ours, [{ ...everySecond, jitterMs: 1_000 }]);
  await waitForTimes(ours, 4);
  // With jitter a time may overtake the one before it.
  await eventually(() => expectEverySecond(distinctTimes(ours)));
  expect(idsOf(ours)).toHaveLength(distinctTimes(ours).length);
  for (const { message } of received) {
    const { scheduledAt } = JSON.parse(message.data) as { scheduledAt: string };
    expect(Date.parse(scheduledAt)).toBe(idTimeMs(message.id));
  }
});

test('what was missed for too long is given up once, and said on the schedule', async () => {
  await register(ours, [{ ...everySecond, catchUpMs: 10_000 }]);
  await database.query(
    {
      name: '',
      text: `update schedules set registered_at = now() - interval '1 hour',
        settled_until = date_trunc('second', now()) - interval '40 seconds'`,
    },
    [],
  );
  await Promise.all([startCron(), startCron()]);
  await waitForTimes(ours, 3);
  const find = () =>
    createScheduleStore(database).get(ours.environmentId, scheduleIdOf('report', everySecond));
  const found = await eventually(async () => {
    const schedule = await find();
    expect(schedule!.givenUp.count).toBeGreaterThanOrEqual(29);
    expect(schedule!.lastFiring).toBeDefined();
    return schedule!;
  });
  // From 40 s ago to 10 s before the replicas first looked.
  expect(distinctTimes(ours)[0]! - found.givenUp.lastAtMs!).toBe(1_000);
});
