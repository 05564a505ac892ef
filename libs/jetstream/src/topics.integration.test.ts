import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { randomBytes } from 'node:crypto';
import { createId } from '@ironflow/schema';
import type { Scope } from '@ironflow/schema';
import { eventually, sharedNats, stopSharedServers } from '@ironflow/testing';
import { connectJetStream } from './jetstream.js';
import type { JetStream } from './jetstream.js';

const scope: Scope = { project: 'acme', env: 'topics', environmentId: createId(Date.now(), randomBytes(10)) };
let jetstream: JetStream;
beforeAll(async () => {
  const { url } = await sharedNats();
  jetstream = await connectJetStream({ url, name: 'test', replicas: 1 });
});
afterAll(async () => {
  await jetstream.close();
  await stopSharedServers();
});

const publish = (topic: string) =>
  jetstream.topics.publish(scope, { topic, data: JSON.stringify('x'.repeat(200_000)), key: undefined });

test('a message comes to a process once, however many listen there, and each of them is told', async () => {
  const heard: string[] = [];
  const listen = (pattern: string) => jetstream.topics.onMessage(scope, pattern, () => heard.push(pattern));
  const stops = ['orders.*', 'orders.shipped', 'orders.shipped', '>', 'invoices.*'].map(listen);
  await jetstream.connection.nats.flush();
  const before = jetstream.connection.nats.stats().inBytes;
  await publish('orders.shipped');
  await eventually(() => expect(heard.sort()).toEqual(['>', 'orders.*', 'orders.shipped', 'orders.shipped']));
  expect(jetstream.connection.nats.stats().inBytes - before).toBeLessThan(2 * 200_000);
  stops.slice(0, 4).forEach((stop) => stop());
  heard.length = 0;
  await publish('orders.shipped');
  await publish('invoices.paid');
  await eventually(() => expect(heard).toEqual(['invoices.*']));
  stops[4]!();
});
