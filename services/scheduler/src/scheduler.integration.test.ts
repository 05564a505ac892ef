import { afterAll, afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { createRegistryReader, createSchedulerStore } from '@ironflow/database';
import { ackWaitMs, deadLetterSchema, deriveRunId, formatTraceparent, subjects } from '@ironflow/schema';
import type { DeadLetter, EventRoutedNotice, Scope } from '@ironflow/schema';
import { createMetrics, createSpanRecorder } from '@ironflow/service';
import type { RecordedSpan } from '@ironflow/service';
import { eventually, sharedNats, sharedPostgres, stopSharedServers } from '@ironflow/testing';
import { createConditions } from './condition.js';
import { routeEvent } from './routing.js';
import { createWorld } from './testing/world.js';
import type { World } from './testing/world.js';

let world: World;
let scope: Scope;
let neighbour: Scope;
beforeEach(async () => {
  world = await createWorld();
  [scope, neighbour] = world.scopes;
});
afterEach(() => world.stop());
afterAll(stopSharedServers);

const shop = { id: 'shop', mode: 'push' as const };
const fleet = { id: 'fleet', mode: 'pull' as const };
const onOrder = [{ event: 'order.*' }];
const names = (count: number): string[] => Array.from({ length: count }, () => 'order.placed');

describe('an event', () => {
  test('starts the functions of its own environment, and each has its activation', async () => {
    await world.register(scope, shop, {
      ship: onOrder,
      bill: [{ event: 'order.placed', if: 'event.data.total > 5' }],
      refund: [{ event: 'order.placed', if: 'event.data.total > 500' }],
      check: [{ event: 'order.placed', if: 'event.data.absent > 5' }],
    });
    await world.register(neighbour, shop, { foreign: onOrder });
    const activations = world.takePush();
    await world.startScheduler();
    const [event] = await world.store(scope, ['order.placed']);
    await world.publish([event!]);
    await eventually(() =>
      expect(activations.map(({ functionId }) => functionId).sort()).toEqual(['bill', 'ship']),
    );
    for (const { activation, functionId } of activations) {
      const runId = deriveRunId({ environmentId: scope.environmentId, eventId: event!.id, functionId });
      expect(activation).toEqual({ runId, scope });
    }
    const runs = await world.runs();
    expect(runs.map((run) => [run.function_id, run.status]).sort()).toEqual([
      ['bill', 'queued'],
      ['check', 'skipped'],
      ['ship', 'queued'],
    ]);
    const skipped = runs.find(({ status }) => status === 'skipped');
    expect(skipped?.skip_reason).toBe('condition_error: no_such_key at character 12');
  });

  test('that invokes a function whose app no longer has it leaves a skipped run, so that nobody waits for ever', async () => {
    await world.register(scope, shop, { ship: onOrder });
    await world.register(scope, shop, {});
    await world.startScheduler();
    await world.publish(await world.store(scope, ['ironflow.invoke.ship']));
    await eventually(async () =>
      expect(await world.runs()).toMatchObject([
        { function_id: 'ship', status: 'skipped', skip_reason: 'function_archived' },
      ]),
    );
  });

  test('that somebody waits for is told with its runs', async () => {
    await world.register(scope, shop, { ship: onOrder });
    const notices: EventRoutedNotice[] = [];
    world.jetstream.notices.onEventRouted('public.*.*.system.event.*.routed', (notice) =>
      notices.push(notice),
    );
    await world.jetstream.connection.nats.flush();
    await world.startScheduler();
    await world.publish(await world.store(scope, ['order.placed'], { awaited: true }));
    await eventually(() => expect(notices).toHaveLength(1));
    expect(notices[0]?.runs).toMatchObject([{ functionId: 'ship', status: 'queued' }]);
  });

  test('delivered again and again to two schedulers starts each run once', async () => {
    await world.register(scope, shop, { ship: onOrder, bill: onOrder });
    await world.register(neighbour, shop, { ship: onOrder });
    const activations = world.takePush();
    const events = [...(await world.store(scope, names(100))), ...(await world.store(neighbour, names(100)))];
    await Promise.all([world.startScheduler(), world.startScheduler()]);
    await Promise.all([world.publish(events), world.publish(events), world.publish([...events].reverse())]);
    await eventually(async () => expect(await world.runs()).toHaveLength(300), { timeoutMs: 10_000 });
    await eventually(() => {
      expect(new Set(activations.map(({ activation }) => activation.runId)).size).toBe(300);
    });
    for (const run of await world.runs()) expect(run).toMatchObject({ wake: 1, served: 0, status: 'queued' });
  });

  test('that comes right after a registration meets the new functions, though nobody told the scheduler', async () => {
    await world.register(scope, shop, { ship: onOrder });
    const activations = world.takePush();
    await world.startScheduler();
    await world.publish(await world.store(scope, ['order.placed']));
    await eventually(() => expect(activations).toHaveLength(1));
    await world.register(scope, shop, { ship: onOrder, audit: onOrder });
    await world.publish(await world.store(scope, ['order.placed']));
    await eventually(() => expect(activations.map(({ functionId }) => functionId)).toContain('audit'));
    expect(await world.runs()).toHaveLength(3);
  });

  test('that was stored and never published is routed by the sweep', async () => {
    await world.register(scope, shop, { ship: onOrder });
    const activations = world.takePush();
    await world.store(scope, names(3));
    await world.startScheduler({ sweepIntervalMs: 200 });
    await eventually(() => expect(activations).toHaveLength(3));
  });

  test('that was never published is found behind very many that cannot be routed', async () => {
    await world.register(scope, shop, { ship: onOrder });
    const activations = world.takePush();
    await world.register(neighbour, shop, { ship: onOrder });
    await world.store(neighbour, names(55));
    // Postgres refuses runs of a function with NUL in its id.
    const text = `update functions set config = replace(config::text, '"ship"', '"\\u0000"')::json
      where environment_id = $1`;
    await world.database.query({ name: 'break_registry', text }, [neighbour.environmentId]);
    await world.store(scope, ['order.placed']);
    await world.startScheduler({ sweepIntervalMs: 200 });
    await eventually(() => expect(activations).toHaveLength(1), { timeoutMs: 20_000 });
  });

  test('whose router died between its commit and its publish is activated by the redelivery', async () => {
    await world.register(scope, shop, { ship: onOrder });
    const activations = world.takePush();
    const events = await world.store(scope, names(3));
    const registry = await createRegistryReader(world.database).get(scope.environmentId);
    const conditions = createConditions();
    const view = { conditions, workerPresent: () => true, isPaused: () => false };
    const routings = events.map((event) => routeEvent(event, registry, view));
    const outcome = await createSchedulerStore(world.database).routeEvents(
      events.map(({ id, name }) => ({
        id,
        awaitedAs: name,
        cancels: false,
        environmentId: scope.environmentId,
        registryVersion: registry.version,
      })),
      routings.flatMap((routing) => (routing.kind === 'matched' ? routing.runs : [])),
    );
    expect(outcome.routed).toHaveLength(3);
    await world.startScheduler({ sweepIntervalMs: 60_000 });
    await world.publish(events);
    await eventually(() => expect(activations).toHaveLength(3));
  });

  test('is in the trace between its acceptance and its runs', async () => {
    await world.register(scope, shop, { ship: onOrder });
    const recorded: RecordedSpan[] = [];
    const spans = { ...createSpanRecorder({ service: 'scheduler' }), enabled: true };
    await world.startScheduler({ spans: { ...spans, record: (span) => void recorded.push(span) } });
    const parent = { traceId: 'a'.repeat(32), spanId: 'b'.repeat(16), sampled: true };
    const unsampled = { ...parent, traceId: 'c'.repeat(32), sampled: false };
    for (const context of [unsampled, parent]) {
      await world.publish(
        await world.store(scope, ['order.placed'], { traceparent: formatTraceparent(context) }),
      );
    }
    await eventually(() => expect(recorded).toHaveLength(1));
    const { traceId, spanId } = recorded[0]!;
    expect(recorded[0]).toMatchObject({ name: 'workflow.route', traceId, parentSpanId: parent.spanId });
    const traces = (await world.runs()).map((run) => run.traceparent);
    expect(traces).toContain(formatTraceparent({ ...parent, spanId }));
  });

  test('that cannot be read becomes a dead letter and does not hold up the others', async () => {
    await world.register(scope, shop, { ship: onOrder });
    const activations = world.takePush();
    const metrics = createMetrics({ service: 'scheduler' });
    await world.startScheduler({ metrics });
    const subject = `ironflow.${scope.project}.${scope.env}.events.order.placed`;
    await world.jetstream.publisher.publish({ subject, data: '{broken' });
    const [event] = await world.store(scope, ['order.placed']);
    await world.jetstream.publisher.publish({
      subject,
      data: JSON.stringify({ ...event, scope: neighbour }),
    });
    await world.publish([event!]);
    await eventually(() => expect(activations).toHaveLength(1));
    const unreadable = /scheduler_events_total\{[^}]*outcome="unreadable"[^}]*\} 2/;
    await eventually(async () => expect(await metrics.render()).toMatch(unreadable));
    await metrics.stop();
  });

  test('that cannot be read is kept whole and published, for its environment if its body says one of its subject', async () => {
    const subject = subjects.event(scope, 'order.placed');
    const bodies = [
      { body: '{broken', environmentId: undefined },
      { body: JSON.stringify({ scope, id: 'none' }), environmentId: scope.environmentId },
      { body: JSON.stringify({ scope: neighbour }), environmentId: undefined },
      // The right place with the id of another.
      {
        body: JSON.stringify({ scope: { ...scope, environmentId: neighbour.environmentId } }),
        environmentId: undefined,
      },
      {
        body: JSON.stringify({ scope, data: 'x'.repeat(800_000) }),
        environmentId: scope.environmentId,
        isCut: true,
      },
    ];
    const published: DeadLetter[] = [];
    world.jetstream.connection.nats.subscribe(subjects.deadLetter(scope, 'events.order.placed'), {
      callback: (_error, message) => void published.push(deadLetterSchema.parse(message.json())),
    });
    await world.jetstream.connection.nats.flush();
    await world.startScheduler();
    for (const { body } of bodies) await world.jetstream.publisher.publish({ subject, data: body });
    await eventually(() => expect(published).toHaveLength(bodies.length));
    const kept = await world.deadLetters();
    for (const { body, environmentId, isCut = false } of bodies) {
      const row = kept.find(({ payload }) => payload.toString() === body);
      expect(row).toMatchObject({ subject, environment_id: environmentId ?? null, reason: 'unreadable' });
      const letter = published.find(({ id }) => id === row!.id);
      expect(letter?.environmentId).toBe(environmentId);
      expect(Buffer.from(letter!.payload, 'base64').toString()).toBe(isCut ? '' : body);
    }
    expect(kept).toHaveLength(bodies.length);
  });

  test('that cannot be read while PostgreSQL is away is a dead letter when it is back, once', async () => {
    const { server } = await sharedPostgres();
    const metrics = createMetrics({ service: 'scheduler' });
    await world.startScheduler({ metrics, sweepIntervalMs: 60_000 });
    await server.stop();
    const subject = subjects.event(scope, 'order.placed');
    await world.jetstream.publisher.publish({ subject, data: '{broken' });
    await eventually(async () => expect(await metrics.render()).toMatch(/outcome="put_back"[^}]*\} [1-9]/));
    await server.restart();
    await eventually(async () => expect(await metrics.render()).toContain('outcome="unreadable"'), {
      timeoutMs: 15_000,
    });
    await metrics.stop();
    expect(await world.deadLetters()).toHaveLength(1);
  });
});

describe('a run that yielded', () => {
  test('with reasons that it has not served is activated as soon as its subject is free', async () => {
    await world.register(scope, shop, { f: onOrder });
    const activations = world.takePush({ ack: false });
    const metrics = createMetrics({ service: 'scheduler' });
    await world.startScheduler({ sweepIntervalMs: 60_000, metrics });
    await world.publish(await world.store(scope, ['order.placed']));
    await eventually(() => expect(activations).toHaveLength(1));
    const { delivery, activation } = activations[0]!;
    world.tellYielded({ id: activation.runId, scope }, { status: 'queued', wake: 2 });
    // The ack comes after the notice, so the first try finds the subject taken.
    await eventually(async () => expect(await metrics.render()).toContain('result="subject_taken"'));
    delivery.ack();
    await eventually(() => expect(activations).toHaveLength(2), { timeoutMs: ackWaitMs - 500 });
    await metrics.stop();
    expect(activations[1]!.activation.runId).toBe(activation.runId);
  });
});

describe('an app without a worker', () => {
  test('has its runs rest until one appears, then they are activated', async () => {
    await world.register(scope, fleet, { drive: onOrder });
    const activations = await world.takePull(scope, 'fleet');
    await world.startScheduler({ sweepIntervalMs: 60_000 });
    await world.publish(await world.store(scope, names(20)));
    await eventually(async () => {
      const resting = (await world.runs()).filter(({ status }) => status === 'waiting_for_worker');
      expect(resting).toHaveLength(20);
    });
    expect(activations).toHaveLength(0);
    await world.announceWorker(neighbour, 'fleet');
    await world.announceWorker(scope, 'fleet');
    await eventually(() => expect(activations).toHaveLength(20));
    for (const run of await world.runs()) expect(run.status).toBe('queued');
    await world.publish(await world.store(scope, ['order.placed']));
    await eventually(() => expect(activations).toHaveLength(21));
  });

  test('has a run that goes on rest as well', async () => {
    await world.register(scope, fleet, { drive: onOrder });
    await world.announceWorker(scope, 'fleet');
    const activations = await world.takePull(scope, 'fleet');
    const first = await world.startScheduler({ sweepIntervalMs: 60_000 });
    await world.publish(await world.store(scope, ['order.placed']));
    await eventually(() => expect(activations).toHaveLength(1));
    await first.stop();
    const entry = `${scope.environmentId}.fleet.executor-1`;
    await world.jetstream.bucket('SYS_workers').delete(entry);
    await world.startScheduler({ sweepIntervalMs: 60_000 });
    const [run] = await world.runs();
    const more = { appId: 'fleet', functionId: 'drive', mode: 'pull' as const };
    world.tellYielded({ id: run!.id, scope }, { ...more, status: 'queued', wake: 2 });
    await eventually(async () => expect((await world.runs())[0]?.status).toBe('waiting_for_worker'));
    await world.announceWorker(scope, 'fleet');
    await eventually(() => expect(activations).toHaveLength(2));
  });
});

describe('what is lost is found again:', () => {
  test('NATS wiped with activations in it', async () => {
    await world.register(scope, shop, { ship: onOrder });
    await world.startScheduler({ sweepIntervalMs: 300 });
    await world.publish(await world.store(scope, names(30)));
    await eventually(async () => expect(await world.runs()).toHaveLength(30));
    await (await sharedNats()).restart({ wipe: true });
    const activations = world.takePush();
    await eventually(
      () => expect(new Set(activations.map(({ activation }) => activation.runId)).size).toBe(30),
      { timeoutMs: 15_000 },
    );
    await world.store(scope, ['order.placed']);
    await eventually(async () => expect(await world.runs()).toHaveLength(31), { timeoutMs: 10_000 });
  });

  test('PostgreSQL away while events come', async () => {
    const { server } = await sharedPostgres();
    await world.register(scope, shop, { ship: onOrder });
    const activations = world.takePush();
    await world.startScheduler({ sweepIntervalMs: 60_000 });
    const events = await world.store(scope, names(20));
    await server.stop();
    await world.publish(events);
    await server.restart();
    await eventually(() => expect(activations).toHaveLength(20), { timeoutMs: 15_000 });
    expect(await world.runs()).toHaveLength(20);
  });
});

test('a scheduler can be stopped and started at any time', async () => {
  await world.register(scope, shop, { ship: onOrder });
  const activations = world.takePush();
  const events = await world.store(scope, names(60));
  const publishing = world.publish(events);
  for (let round = 0; round < 4; round += 1) {
    const scheduler = await world.startScheduler();
    await scheduler.stop();
    await scheduler.stop();
  }
  await world.startScheduler();
  await publishing;
  await eventually(
    () => expect(new Set(activations.map(({ activation }) => activation.runId)).size).toBe(60),
    {
      timeoutMs: 15_000,
    },
  );
  expect(await world.runs()).toHaveLength(60);
});
