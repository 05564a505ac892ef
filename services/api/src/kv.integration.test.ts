import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createClient } from '@ironflow/sdk';
import type { KvChange } from '@ironflow/sdk';
import { limits } from '@ironflow/schema';
import { eventually } from '@ironflow/testing';
import { startApiUnderTest } from './testing/api-under-test.js';
import type { ApiUnderTest } from './testing/api-under-test.js';

let under: ApiUnderTest;
let client: ReturnType<typeof createClient>;
let theirs: ReturnType<typeof createClient>;
beforeAll(async () => {
  under = await startApiUnderTest();
  client = createClient({ ironflowUrl: under.url, apiKey: under.acme.apiKey });
  theirs = createClient({ ironflowUrl: under.url, apiKey: under.globex.apiKey });
}, 120_000);
afterAll(() => under.stop());

const streamOf = (name: string): string => `KV_APP_${under.acme.scope.environmentId}_${name}`;
async function wipe(name: string): Promise<void> {
  await under.jetstream.connection.request({ subject: `$JS.API.STREAM.DELETE.${streamOf(name)}`, data: '' });
}

test('a bucket is made, altered, listed and deleted with its values', async () => {
  const carts = client.kv('carts');
  expect(await carts.create({ ttl: '1h', history: 3 })).toMatchObject({ ttlSeconds: 3_600, history: 3 });
  await carts.put('a', 1);
  const altered = await carts.create({ history: 5, maxBytes: 2 * 1024 * 1024 });
  expect(altered).toMatchObject({ history: 5, maxBytes: 2 * 1024 * 1024 });
  expect(altered).not.toHaveProperty('ttlSeconds');
  expect(await carts.get('a')).toMatchObject({ value: 1 });
  expect(await client.kvBuckets()).toEqual([altered]);
  await carts.deleteBucket();
  await expect(carts.get('a')).rejects.toMatchObject({ code: 'kv_bucket_not_found' });
  await carts.create();
  expect(await carts.get('a')).toBeUndefined();
});

test('a key is set, compared, deleted and made again, and its history tells so', async () => {
  const bucket = client.kv('compared');
  await bucket.create({ history: 10 });
  const first = await bucket.put('orders.7', { total: 1 }, { revision: 0 });
  await expect(bucket.put('orders.7', 2, { revision: 0 })).rejects.toMatchObject({
    code: 'revision_mismatch',
  });
  const raced = await Promise.allSettled(
    [2, 3, 4].map((value) => bucket.put('orders.7', value, { revision: first.revision })),
  );
  expect(raced.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected', 'rejected']);
  await expect(bucket.delete('orders.7', { revision: first.revision })).rejects.toMatchObject({
    status: 409,
  });
  await bucket.delete('orders.7');
  expect(await bucket.get('orders.7')).toBeUndefined();
  await expect(bucket.delete('orders.7')).rejects.toMatchObject({ code: 'kv_key_not_found' });
  await bucket.put('orders.7', null, { revision: 0 });
  const history = await bucket.history('orders.7');
  expect(history.map(({ deleted, value }) => deleted ?? value)).toEqual([
    { total: 1 },
    expect.any(Number),
    true,
    null,
  ]);
});

test('keys are listed by pattern, in their order and by the page, without those that were deleted', async () => {
  const bucket = client.kv('listed');
  await bucket.create();
  for (const key of ['b.2', 'a', 'b.1', 'b.3', 'c']) await bucket.put(key, 1);
  await bucket.delete('c');
  expect(await bucket.keys()).toEqual({ keys: ['a', 'b.1', 'b.2', 'b.3'] });
  expect(await bucket.keys({ pattern: 'b.*', limit: 2 })).toEqual({
    keys: ['b.1', 'b.2'],
    nextCursor: 'b.2',
  });
  expect(await bucket.keys({ pattern: 'b.*', limit: 2, cursor: 'b.2' })).toEqual({ keys: ['b.3'] });
});

test('a key with a time of its own vanishes, and others stay', async () => {
  const bucket = client.kv('passing');
  await bucket.create();
  await bucket.put('stays', 1);
  await bucket.put('passes', 1, { ttl: '1s' });
  expect(await bucket.get('passes')).toMatchObject({ value: 1 });
  await eventually(async () => expect(await bucket.get('passes')).toBeUndefined(), { timeoutMs: 20_000 });
  expect(await bucket.get('stays')).toMatchObject({ value: 1 });
}, 30_000);

test('a watcher sees what is kept, then what comes, of the pattern alone', async () => {
  const bucket = client.kv('watched');
  await bucket.create();
  await bucket.put('a.1', 'before');
  const seen: KvChange[] = [];
  const leave = new AbortController();
  void (async () => {
    for await (const change of bucket.watch({ pattern: 'a.*', signal: leave.signal })) seen.push(change);
  })().catch(() => undefined);
  await eventually(() => expect(seen).toHaveLength(1));
  await bucket.put('b', 'not this one');
  await bucket.put('a.2', 'after');
  await bucket.delete('a.1');
  await eventually(() => expect(seen).toHaveLength(3));
  expect(seen.map(({ key, value, deleted }) => [key, deleted ?? value])).toEqual([
    ['a.1', 'before'],
    ['a.2', 'after'],
    ['a.1', true],
  ]);
  leave.abort();
});

test('a bucket that NATS has lost comes back as it was set, without its values', async () => {
  const bucket = client.kv('wiped');
  await bucket.create({ history: 7 });
  await bucket.put('a', 1);
  await wipe('wiped');
  expect(await bucket.get('a')).toBeUndefined();
  await wipe('wiped');
  await bucket.put('a', 2);
  await bucket.put('a', 3);
  expect(await bucket.history('a')).toHaveLength(2);
  await wipe('wiped');
  expect(await bucket.keys()).toEqual({ keys: [] });
});

test('a bucket of the same name is another environment’s own', async () => {
  await client.kv('private').create();
  await client.kv('private').put('a', 'ours');
  await expect(theirs.kv('private').get('a')).rejects.toMatchObject({ code: 'kv_bucket_not_found' });
  await expect(theirs.kv('private').deleteBucket()).rejects.toMatchObject({ status: 404 });
  await theirs.kv('private').create();
  expect(await theirs.kv('private').get('a')).toBeUndefined();
  await theirs.kv('private').deleteBucket();
  expect(await client.kv('private').get('a')).toMatchObject({ value: 'ours' });
});

test('what is too much is refused', async () => {
  const bucket = client.kv('full');
  await bucket.create({ maxBytes: limits.kvBucketBytesMin });
  const large = 'x'.repeat(500_000);
  await expect(bucket.put('a', 'x'.repeat(limits.kvValueBytesMax))).rejects.toMatchObject({
    code: 'kv_data_too_large',
  });
  await bucket.put('a', large);
  await bucket.put('b', large);
  await expect(bucket.put('c', large)).rejects.toMatchObject({ code: 'kv_bucket_full' });
  await bucket.delete('a');
  expect(await bucket.get('a')).toBeUndefined();
  await bucket.put('c', large);
  for (const key of ['.a', 'a..b', 'a b', 'a.*', '>']) {
    await expect(bucket.put(key, 1)).rejects.toMatchObject({ status: 400 });
  }
  await expect(client.kv('no such').create()).rejects.toMatchObject({ status: 400 });
});
