import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createFunction } from '@ironflow/sdk';
import type { Client, IronflowFunction, TopicMessage } from '@ironflow/sdk';
import { limits } from '@ironflow/schema';
import { eventually } from '@ironflow/testing';
import { startPlatformUnderTest } from './platform-under-test.js';
import type { PlatformUnderTest, Tenant } from './platform-under-test.js';

let world: PlatformUnderTest;
let ours: Tenant;
let theirs: Tenant;
const gone = new AbortController();
const patience = { timeoutMs: 20_000 };

beforeAll(async () => {
  world = await startPlatformUnderTest();
  ours = world.tenant;
  theirs = await world.createTenant('neighbour', 'prod');
  await ours.startWorker('topics-pull', [publishing('pull')]);
  await ours.startPushApp('topics-push', [publishing('push')]);
}, 60_000);
afterAll(async () => {
  gone.abort();
  await world?.stop();
}, 30_000);

/** Publishes by hand what a process would have published that died before its step was recorded. */
function publishing(mode: string): IronflowFunction {
  return createFunction({ id: `${mode}-publishing`, triggers: [] }, async ({ step, run }) => {
    const key = `${run.id}.${createHash('sha256').update('told').digest('base64url')}`;
    const { id } = await ours.client.topics.publish(`${mode}.shipped`, 'before', { idempotencyKey: key });
    const told = await step.publish(`${mode}.shipped`, 'after', { name: 'told' });
    await step.publish(`${mode}.shipped`, 'second');
    return told.id === id;
  });
}

interface Following {
  messages: TopicMessage[];
  error: unknown;
}

function follow(client: Client, pattern: string, after: string): Following {
  const following: Following = { messages: [], error: undefined };
  const read = async (): Promise<void> => {
    const { signal } = gone;
    for await (const message of client.topics.subscribe(pattern, { after, signal })) {
      following.messages.push(message);
    }
  };
  void read().catch((error: unknown) => (following.error = error));
  return following;
}

const told = ({ messages }: Following) => messages.map(({ topic, data }) => [topic, data]);

describe.each(['pull', 'push'])('a step, in %s mode', (mode) => {
  test('publishes its message once, though what ran before its record did so too', async () => {
    const following = follow(ours.client, `${mode}.*`, '0');
    const { ids } = await ours.client.invoke(`${mode}-publishing`);
    const [run] = await ours.endedRunsOf(ids[0]!);
    expect(run).toMatchObject({ status: 'completed', output: true });
    expect(run!.steps.map(({ id }) => id)).toEqual(['told', `${mode}.shipped`]);
    await eventually(() => expect(following.messages).toHaveLength(2), patience);
    expect(told(following)).toEqual([
      [`${mode}.shipped`, 'before'],
      [`${mode}.shipped`, 'second'],
    ]);
  });
});

test('what is published is read as it came by whoever follows the topic or its pattern, and by no neighbour', async () => {
  const { id: mark } = await ours.client.topics.publish('mark');
  const data = { n: 1, text: 'ä\n\u2028"\\' };
  const [exact, pattern, shorter] = ['orders.shipped', 'orders.*', 'orders'].map((topic) =>
    follow(ours.client, topic, mark),
  );
  const all = follow(theirs.client, '>', '0');
  const { id } = await ours.client.topics.publish('orders.shipped', data);
  await ours.client.topics.publish('orders.lost');
  await theirs.client.topics.publish('orders.shipped', 'theirs');
  await eventually(() => expect(pattern!.messages).toHaveLength(2), patience);
  expect(told(pattern!)).toEqual([
    ['orders.shipped', data],
    ['orders.lost', null],
  ]);
  await eventually(() => expect(exact!.messages).toEqual([pattern!.messages[0]]), patience);
  expect(exact!.messages[0]!.id).toBe(id);
  await eventually(() => expect(told(all)).toEqual([['orders.shipped', 'theirs']]), patience);
  expect(shorter!.messages).toEqual([]);
});

test('whoever comes late reads what is kept behind the message that it names, then what comes: all once, in order', async () => {
  const { id: first } = await ours.client.topics.publish('later.a', 0);
  for (let n = 1; n <= 20; n += 1) await ours.client.topics.publish('later.a', n);
  const late = follow(ours.client, 'later.*', first);
  await Promise.all(
    Array.from({ length: 20 }, (_, n) => ours.client.topics.publish(`later.${n % 2}`, 21 + n)),
  );
  await eventually(() => expect(late.messages).toHaveLength(40), patience);
  expect(late.messages.slice(0, 20).map(({ data }) => data)).toEqual(
    Array.from({ length: 20 }, (_, n) => n + 1),
  );
  const ids = late.messages.map(({ id }) => Number(id));
  expect(ids).toEqual([...new Set(ids)].sort((a, b) => a - b));
});

test('the same key for the same topic publishes once; elsewhere it is another message', async () => {
  const idempotencyKey = `${'k '.repeat(100)}\n€`;
  const publish = async (client: Client, topic: string) =>
    (await client.topics.publish(topic, 1, { idempotencyKey })).id;
  const once = await publish(ours.client, 'keyed.a');
  expect(await publish(ours.client, 'keyed.a')).toBe(once);
  const others = [await publish(ours.client, 'keyed.b'), await publish(theirs.client, 'keyed.a')];
  expect(new Set([once, ...others]).size).toBe(3);
});

test.each(['orders.*', '>', 'ironflow.x', 'a..b', 'a b', '../system', `${'a.'.repeat(8)}a`])(
  'nothing is published to %p',
  async (topic) => {
    await expect(ours.client.topics.publish(topic, 1)).rejects.toMatchObject({ status: 400 });
  },
);

test.each(['a.>.b', 'a.*b', 'x y', '>.a', '../system'])('nobody follows %p', async (pattern) => {
  const following = follow(ours.client, pattern, '0');
  await eventually(() => expect(following.error).toMatchObject({ status: 400 }), patience);
});

test('data has a limit, and the longest topic works', async () => {
  const fits = 'x'.repeat(limits.topicDataBytesMax - 2);
  const topic = `${'t'.repeat(254)}.t`;
  const following = follow(ours.client, topic, '0');
  await ours.client.topics.publish(topic, fits);
  await eventually(() => expect(following.messages).toHaveLength(1), patience);
  expect(following.messages[0]!.data === fits).toBe(true);
  await expect(ours.client.topics.publish('large', `${fits}x`)).rejects.toMatchObject({
    status: 413,
    code: 'topic_data_too_large',
  });
});

test('subscriptions of an environment are bounded, and leave room for its neighbours', async () => {
  const leaving = new AbortController();
  const open = async ({ ironflowUrl, apiKey }: Tenant): Promise<Response> =>
    fetch(`${ironflowUrl}/v1/topics/bounded/messages`, {
      headers: { authorization: `Bearer ${apiKey}` },
      signal: leaving.signal,
    });
  const opened = await Promise.all(
    Array.from({ length: limits.topicSubscriptionsMax + 1 }, () => open(ours)),
  );
  const refused = opened.filter(({ status }) => status !== 200);
  expect(refused.length).toBeGreaterThan(0);
  expect(refused[0]!.headers.get('retry-after')).toBe('5');
  expect(await refused[0]!.json()).toMatchObject({ error: { code: 'too_many_subscriptions' } });
  expect((await open(theirs)).status).toBe(200);
  leaving.abort();
});
