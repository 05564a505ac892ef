/** What the platform of the drill is at while it is backed up: runs, sleeping runs, buckets, a topic; and what was seen of it. */
import { setTimeout as pause } from 'node:timers/promises';
import type { Platform } from '@ironflow/platform';
import { createClient, createFunction, createWorker } from '@ironflow/sdk';
import type { Client, Worker } from '@ironflow/sdk';

export type Moment = 'postgres begins' | 'postgres ends' | 'nats begins' | 'nats ends';

/** At a moment. */
export interface Seen {
  orders: number;
  counter: number;
  reserved: ReadonlySet<string>;
  topicMessages: number;
}

export interface DrillLoad {
  readonly accepted: readonly string[];
  readonly sleepers: readonly string[];
  readonly staticKeys: readonly string[];
  /** The highest that was handed out. */
  readonly revisionMax: () => number;
  readonly moments: ReadonlyMap<Moment, Seen>;
  /** How often each step of each run began: `<order>/<step>`. */
  readonly begins: ReadonlyMap<string, number>;
  mark(moment: Moment): void;
  /** Of what emits and writes; runs go on. */
  stop(): Promise<void>;
  /** A worker of the same functions for another platform; the one before is stopped. */
  work(platform: Platform): Promise<void>;
}

export const buckets = { stock: 'stock', prices: 'prices' } as const;
export const topic = 'orders.said';
const staticKeysMax = 500;
const sleepersMax = 30;
const orderPauseMs = 40;
const counterKey = 'counter';

export async function startDrillLoad(
  platform: Platform,
  { sleepSeconds }: { sleepSeconds: number },
): Promise<DrillLoad> {
  const client = clientOf(platform);
  const state = createState();
  let worker: Worker | undefined;
  const work = async (on: Platform): Promise<void> => {
    const functions = functionsOf({ client: clientOf(on), state, sleepSeconds });
    const { url: ironflowUrl, apiKey } = on;
    await worker?.stop({ timeoutMs: 0 });
    worker = createWorker({ app: 'drill', functions, ironflowUrl, apiKey, log: () => undefined });
    await worker.start();
  };
  await client.kv(buckets.stock).create();
  await client.kv(buckets.prices).create({ history: 5, ttl: '1h' });
  const staticKeys = Array.from({ length: staticKeysMax }, (_, index) => `article-${index}`);
  for (const key of staticKeys) {
    await client.kv(buckets.stock).put(key, valueOf(key));
    await client.kv(buckets.prices).put(key, valueOf(key));
  }
  await work(platform);
  const sleepers = Array.from({ length: sleepersMax }, (_, index) => `sleeper-${index}`);
  await client.emit(sleepers.map((order) => ({ name: 'order.paused', data: { order } })));
  const stopping = new AbortController();
  const loops = [placeOrders, countUp, publishMessages].map((loop) => loop(client, state, stopping.signal));
  return {
    ...{ accepted: state.accepted, sleepers, staticKeys, begins: state.begins, work },
    moments: state.moments,
    revisionMax: () => state.revisionMax,
    mark: (moment) => {
      const { accepted, counter, reserved, topicMessages } = state;
      const seen = { orders: accepted.length, counter, reserved: new Set(reserved), topicMessages };
      state.moments.set(moment, seen);
    },
    stop: async () => {
      stopping.abort();
      await Promise.all(loops);
    },
  };
}

export function clientOf({ url: ironflowUrl, apiKey }: Platform): Client {
  return createClient({ ironflowUrl, apiKey });
}

export function valueOf(key: string): { of: string; amount: number } {
  return { of: key, amount: key.length };
}

interface State {
  accepted: string[];
  reserved: Set<string>;
  counter: number;
  topicMessages: number;
  revisionMax: number;
  moments: Map<Moment, Seen>;
  begins: Map<string, number>;
}

function createState(): State {
  return {
    accepted: [],
    reserved: new Set(),
    counter: 0,
    topicMessages: 0,
    revisionMax: 0,
    moments: new Map(),
    begins: new Map(),
  };
}

function functionsOf({
  client,
  state,
  sleepSeconds,
}: {
  client: Client;
  state: State;
  sleepSeconds: number;
}) {
  const begin = (order: string, step: string): void => {
    const name = `${order}/${step}`;
    state.begins.set(name, (state.begins.get(name) ?? 0) + 1);
  };
  const place = createFunction(
    { id: 'place', triggers: [{ event: 'order.placed' }] },
    async ({ event, step }) => {
      const { order } = event.data as { order: string };
      await step.run('reserve', async () => {
        begin(order, 'reserve');
        await client.kv(buckets.stock).put(order, { order });
        state.reserved.add(order);
      });
      await step.sleep('pack', '500ms');
      await step.run('charge', () => begin(order, 'charge'));
      return order;
    },
  );
  const rest = createFunction(
    { id: 'rest', triggers: [{ event: 'order.paused' }] },
    async ({ event, step }) => {
      const { order } = event.data as { order: string };
      await step.run('before', () => begin(order, 'before'));
      await step.sleep('rest', `${sleepSeconds}s`);
      await step.run('after', () => begin(order, 'after'));
      return order;
    },
  );
  return [place, rest];
}

async function placeOrders(client: Client, state: State, stopping: AbortSignal): Promise<void> {
  while (!stopping.aborted) {
    const order = `order-${state.accepted.length}`;
    await client.emit({ name: 'order.placed', data: { order }, idempotencyKey: order });
    state.accepted.push(order);
    await pause(orderPauseMs);
  }
}

async function countUp(client: Client, state: State, stopping: AbortSignal): Promise<void> {
  while (!stopping.aborted) {
    const { revision } = await client.kv(buckets.stock).put(counterKey, state.counter + 1);
    state.counter += 1;
    state.revisionMax = revision;
  }
}

async function publishMessages(client: Client, state: State, stopping: AbortSignal): Promise<void> {
  while (!stopping.aborted) {
    await client.topics.publish(topic, { number: state.topicMessages + 1 });
    state.topicMessages += 1;
    await pause(orderPauseMs);
  }
}
