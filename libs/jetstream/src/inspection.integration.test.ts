/** What `inspectNats` sees of servers whose disk is full, and of probes that were cut off. What it all means is shown in tools/platform. */
import { join } from 'node:path';
import { jetstreamManager } from '@nats-io/jetstream';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { storageProbe } from '@ironflow/schema';
import { createScratch, eventually, mountSmallDisk, startNatsServer } from '@ironflow/testing';
import type { Scratch } from '@ironflow/testing';
import { connectNats } from './connection.js';
import { inspectNats } from './inspection.js';

let scratch: Scratch;
beforeAll(async () => {
  scratch = await createScratch('inspection');
});
afterAll(() => scratch.remove());

test('a server whose disk is full stores nothing, and a stream that has met that takes nothing until the server is restarted', async () => {
  const disk = mountSmallDisk(scratch.file('disk'), 64);
  const server = await startNatsServer({ storeDir: join(disk.path, 'nats') });
  const connection = await connectNats({ url: server.url, name: 'test', requestTimeoutMs: 1_000 });
  const publish = async () => (await connection.request({ subject: 'a', data: 'x'.repeat(100_000) })).kind;
  const probe = async () => {
    const found = await inspectNats({ url: server.url, replicas: 1 });
    return found.kind === 'connected' && found.jetstream === 'available' ? found.probe : found;
  };
  try {
    const manager = await jetstreamManager(connection.nats);
    await manager.streams.add({ name: 'A', subjects: ['a'] });
    expect([await publish(), await probe()]).toEqual(['message', { kind: 'stored' }]);
    disk.fill();
    expect(await publish()).toBe('unanswered');
    expect(await probe()).toEqual({ kind: 'not_stored', why: expect.stringContaining('10049') });
    disk.makeRoom();
    expect([await publish(), await probe()]).toEqual(['unanswered', { kind: 'stored' }]);
    await server.restart();
    await eventually(async () => expect(await publish()).toBe('message'), { timeoutMs: 20_000 });
  } finally {
    await connection.close();
    await server.kill();
    disk.unmount();
  }
}, 120_000);

test('a probe leaves nothing behind; one that was cut off is removed once it is a minute old', async () => {
  const server = await startNatsServer({ storeDir: scratch.file('nats') });
  const connection = await connectNats({ url: server.url, name: 'test' });
  try {
    const manager = await jetstreamManager(connection.nats);
    const names = () => manager.streams.names().next();
    await inspectNats({ url: server.url, replicas: 1 });
    expect(await names()).toEqual([]);
    const name = `${storageProbe.streamPrefix}cut`;
    await manager.streams.add({ name, subjects: ['cut'] });
    await inspectNats({ url: server.url, replicas: 1 });
    expect(await names()).toEqual([name]);
    await inspectNats({ url: server.url, replicas: 1, now: () => Date.now() + 120_000 });
    expect(await names()).toEqual([]);
  } finally {
    await connection.close();
    await server.kill();
  }
}, 60_000);
