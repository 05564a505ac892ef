import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { jetstreamManager } from '@nats-io/jetstream';
import { headerNames, subjects } from '@ironflow/schema';
import type { ConsumerDefinition } from '@ironflow/schema';
import { eventually, sharedNats, stopSharedServers } from '@ironflow/testing';
import type { NatsServer } from '@ironflow/testing';
import type { PullConsumer } from './consumer.js';
import type { Delivery } from './delivery.js';
import { connectJetStream } from './jetstream.js';
import type { JetStream } from './jetstream.js';

const place = { project: 'acme', env: 'prod' };
const definition: ConsumerDefinition = { stream: 'EVENTS', durable: 'test', maxAckPending: 1_000 };
const patience = { timeoutMs: 15_000 };
let server: NatsServer;
let jetstream: JetStream;
let started: PullConsumer[] = [];

beforeAll(async () => {
  server = await sharedNats();
  jetstream = await connectJetStream({ url: server.url, name: 'test', replicas: 1 });
});
afterEach(async () => {
  for (const consumer of started) consumer.stop();
  started = [];
  const manager = await jetstreamManager(jetstream.connection.nats);
  await manager.consumers.delete('EVENTS', 'test').catch(() => false);
  await manager.streams.purge('EVENTS');
});
afterAll(async () => {
  await jetstream.close();
  await stopSharedServers();
});

async function publish(name: string, count = 1, headers: Record<string, string> = {}): Promise<void> {
  const subject = subjects.event(place, name);
  const publications = Array.from({ length: count }, (_, index) =>
    jetstream.publisher.publish({ subject, data: `${index}`, headers }),
  );
  for (const result of await Promise.all(publications)) expect(result.kind).toBe('stored');
}

/** Keeps what comes until it is told to answer, with room for `room` at a time. */
function holdDeliveries(room: number) {
  const held: Delivery[] = [];
  let heldMax = 0;
  const consumer = jetstream.consume(definition, {
    capacity: () => room - held.length,
    onDelivery: (delivery) => {
      held.push(delivery);
      heldMax = Math.max(heldMax, held.length);
    },
  });
  started.push(consumer);
  return { held, consumer, heldMax: () => heldMax };
}

function collect() {
  const seen: Delivery[] = [];
  const consumer = jetstream.consume(definition, {
    capacity: () => 100,
    onDelivery: (delivery) => {
      seen.push(delivery);
      delivery.ack();
    },
  });
  started.push(consumer);
  return seen;
}

test('the owner never holds more than it has room for, and gets the rest when it has room again', async () => {
  await publish('many', 50);
  const { held, consumer, heldMax } = holdDeliveries(7);
  let answered = 0;
  while (answered < 50) {
    await eventually(() => expect(held.length).toBeGreaterThan(0));
    for (const delivery of held.splice(0)) {
      delivery.ack();
      answered += 1;
    }
    consumer.wake();
  }
  expect(heldMax()).toBeLessThanOrEqual(7);
  await eventually(async () =>
    expect(await jetstream.states.consumer(definition)).toMatchObject({ ackPending: 0 }),
  );
});

test('a large room is asked for as a whole, while requests are open', async () => {
  const other = await connectJetStream({ url: server.url, name: 'spy', replicas: 1 });
  const batches: number[] = [];
  other.connection.listen('$JS.API.CONSUMER.MSG.NEXT.EVENTS.test', (message) =>
    batches.push(message.json<{ batch: number }>().batch),
  );
  await other.connection.nats.flush();
  const { consumer } = holdDeliveries(9_000);
  await eventually(() => {
    consumer.wake();
    expect(batches.reduce((sum, batch) => sum + batch, 0)).toBeGreaterThanOrEqual(8_000);
  });
  expect(Math.max(...batches)).toBeLessThanOrEqual(2_000);
  await other.close();
});

test('what comes when there is no room any more is put back for a moment, not at once', async () => {
  let room = 10;
  const consumer = jetstream.consume(definition, { capacity: () => room, onDelivery: () => undefined });
  started.push(consumer);
  const manager = await jetstreamManager(jetstream.connection.nats);
  await eventually(async () =>
    expect((await manager.consumers.info('EVENTS', 'test')).num_waiting).toBeGreaterThan(0),
  );
  room = 0;
  const publishedAtMs = performance.now();
  await publish('beyond');
  await eventually(async () =>
    expect((await manager.consumers.info('EVENTS', 'test')).delivered.consumer_seq).toBeGreaterThanOrEqual(5),
  );
  expect(performance.now() - publishedAtMs).toBeGreaterThan(150);
});

test('a delivery says its place in the stream, since when, and how often it was delivered', async () => {
  const { held } = holdDeliveries(1);
  await publish('again');
  await eventually(() => expect(held).toHaveLength(1));
  const first = held.pop()!;
  expect(first.storedAtMs).toBe(await jetstream.states.storedAt('EVENTS', first.sequence));
  expect(first).toMatchObject({ deliveryCount: 1, subject: subjects.event(place, 'again') });
  expect(first.sequence).toBe((await jetstream.states.stream('EVENTS')).lastSequence);
  const nakedAt = performance.now();
  first.nak(300);
  await eventually(() => expect(held).toHaveLength(1));
  expect(performance.now() - nakedAt).toBeGreaterThan(250);
  expect(held[0]).toMatchObject({ deliveryCount: 2, sequence: first.sequence });
  expect(await held[0]!.working()).toBe(true);
});

test('without a connection no sign of life is sent, and none afterwards', async () => {
  const { held } = holdDeliveries(1);
  await publish('alive');
  await eventually(() => expect(held).toHaveLength(1));
  await server.kill();
  await eventually(() => expect(jetstream.isConnected()).toBe(false));
  const startedAtMs = performance.now();
  expect(await held[0]!.working()).toBe(false);
  expect(performance.now() - startedAtMs).toBeLessThan(500);
  await server.restart();
  await eventually(() => expect(jetstream.isConnected()).toBe(true), patience);
});

test('a message of a newer major version is put back and never shown to the owner', async () => {
  const seen = collect();
  await publish('future', 1, { [headerNames.schemaVersion]: '3.0' });
  await publish('known');
  await eventually(() => expect(seen).toHaveLength(1));
  expect(seen[0]!.subject).toBe(subjects.event(place, 'known'));
  // The server may not have the ack of the other yet.
  await eventually(async () =>
    expect(await jetstream.states.consumer(definition)).toMatchObject({ ackPending: 1 }),
  );
});

test('a consumer that somebody deleted is made again', async () => {
  const seen = collect();
  await publish('before');
  await eventually(() => expect(seen).toHaveLength(1));
  const manager = await jetstreamManager(jetstream.connection.nats);
  await manager.streams.purge('EVENTS');
  await manager.consumers.delete('EVENTS', 'test');
  await publish('after');
  await eventually(() => expect(seen.at(-1)!.subject).toBe(subjects.event(place, 'after')), patience);
});

test('deliveries go on after the server was killed and came back with its data', async () => {
  const seen = collect();
  await publish('before');
  await eventually(() => expect(seen).toHaveLength(1));
  await server.kill();
  await server.restart();
  await eventually(() => publish('after'), patience);
  await eventually(() => expect(seen.at(-1)!.subject).toBe(subjects.event(place, 'after')), patience);
});

test('deliveries go on after the server lost everything, and nobody restarts anything', async () => {
  const seen = collect();
  await publish('before');
  await eventually(() => expect(seen).toHaveLength(1));
  await server.kill();
  await server.restart({ wipe: true });
  await eventually(() => publish('after'), patience);
  await eventually(() => expect(seen.at(-1)!.subject).toBe(subjects.event(place, 'after')), patience);
});

test('what was on its way to a consumer that stops is somebody else’s at once', async () => {
  for (let round = 0; round < 5; round += 1) {
    const { consumer } = holdDeliveries(100);
    await jetstream.connection.nats.flush();
    const publishing = publish('handed-over', 20);
    consumer.stop();
    await publishing;
  }
  const seen = collect();
  await eventually(
    async () => {
      const { pending, ackPending } = await jetstream.states.consumer(definition);
      expect(pending + ackPending).toBe(0);
    },
    { timeoutMs: 3_000 },
  );
  expect(seen.length).toBeGreaterThan(0);
});

test('a message that was delivered before is told of, with its consumer', async () => {
  const told: string[] = [];
  const watched = await connectJetStream({
    url: server.url,
    name: 'test',
    replicas: 1,
    onRedelivery: ({ stream, durable }) => told.push(`${stream} ${durable}`),
  });
  const counts: number[] = [];
  started.push(
    watched.consume(definition, {
      capacity: () => 10,
      onDelivery: (delivery) => {
        counts.push(delivery.deliveryCount);
        if (delivery.deliveryCount < 3) delivery.nak();
        else delivery.ack();
      },
    }),
  );
  await publish('again');
  await eventually(() => expect(counts).toEqual([1, 2, 3]), patience);
  expect(told).toEqual(['EVENTS test', 'EVENTS test']);
  await watched.close();
});
