import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { eventually, sharedNats, stopSharedServers } from '@ironflow/testing';
import { watchBucket } from './bucket-watch.js';
import { connectJetStream } from './jetstream.js';
import type { JetStream } from './jetstream.js';

const name = 'SYS_functions';
let jetstream: JetStream;
beforeAll(async () => {
  jetstream = await connectJetStream({ url: (await sharedNats()).url, name: 'test', replicas: 1 });
});
afterAll(async () => {
  await jetstream.close();
  await stopSharedServers();
});

async function reconnect(): Promise<void> {
  const isBack = new Promise<void>((resolve) => {
    const stop = jetstream.connection.onReconnect(() => {
      stop();
      resolve();
    });
  });
  await jetstream.connection.nats.reconnect();
  await isBack;
}

test('a watch whose first read fails rejects and leaves nothing behind', async () => {
  const told: string[] = [];
  let reads = 0;
  const keys = (): Promise<string[]> => {
    reads += 1;
    return Promise.reject(new Error('unreadable'));
  };
  const { connection } = jetstream;
  await expect(watchBucket({ connection, name, keys, onChange: (key) => told.push(key) })).rejects.toThrow(
    'unreadable',
  );
  await jetstream.bucket(name).put('unheard', '1');
  await reconnect();
  await connection.nats.flush();
  expect({ told, reads }).toEqual({ told: [], reads: 1 });
});

test('after several reconnects one pass at a time reads what was missed, until it could be read', async () => {
  let failuresLeft = 0;
  let running = 0;
  let runningMax = 0;
  const keys = async (): Promise<string[]> => {
    runningMax = Math.max(runningMax, (running += 1));
    await new Promise((resolve) => setImmediate(resolve));
    running -= 1;
    if (failuresLeft-- > 0) throw new Error('not yet');
    return ['missed'];
  };
  const told: string[] = [];
  const { connection } = jetstream;
  const stop = await watchBucket({ connection, name, keys, onChange: (key) => told.push(key) });
  failuresLeft = 2;
  for (let count = 0; count < 3; count += 1) await reconnect();
  await eventually(() => expect(told.length).toBeGreaterThan(1));
  expect(runningMax).toBe(1);
  stop();
});

test('a watcher that throws is told of the next change all the same', async () => {
  const told: string[] = [];
  const warnings: string[] = [];
  const stop = await watchBucket({
    connection: jetstream.connection,
    name,
    keys: () => Promise.resolve(['first']),
    onChange: (key) => {
      told.push(key);
      JSON.parse('{"secret": hunter2');
    },
    log: { info: () => undefined, warn: (message) => warnings.push(message) },
  });
  await jetstream.bucket(name).put('second', '1');
  await eventually(() => expect(told).toEqual(['first', 'second', 'second']));
  expect(warnings[0]).toMatch(/SYS_functions/);
  expect(warnings.join()).not.toContain('hunter2');
  stop();
});
