import { expect, jest, test } from '@jest/globals';
import type { Delivery } from '@ironflow/jetstream';
import { ackWaitMs } from '@ironflow/schema';
import { createLeaseKeeper } from './lease.js';

/** A delivery whose confirmations the test gives, and clocks that it moves. */
function setup() {
  jest.useFakeTimers();
  const time = { wall: 1_000_000, monotonic: 0 };
  const sent: string[] = [];
  let confirms = true;
  let connected = true;
  let losses = 0;
  let sequence = 0;
  const deliver = (): Delivery =>
    ({ ...answers, sequence: (sequence += 1), deliveryCount: 1 }) as unknown as Delivery;
  const answers = {
    ack: () => sent.push('ack'),
    nak: () => sent.push('nak'),
    term: () => sent.push('term'),
    working: async () => {
      sent.push('working');
      return confirms;
    },
  };
  const keeper = createLeaseKeeper({
    time: { wallMs: () => time.wall, monotonicMs: () => time.monotonic },
    isConnected: () => connected,
    onLost: () => (losses += 1),
  });
  const pass = async (ms: number): Promise<void> => {
    for (let passed = 0; passed < ms; passed += 250) {
      time.wall += 250;
      time.monotonic += 250;
      await jest.advanceTimersByTimeAsync(250);
    }
  };
  const delivery = deliver();
  const grant = () => keeper.grant(deliver())!;
  const lease = keeper.grant(delivery)!;
  return {
    lease,
    delivery,
    grant,
    time,
    sent,
    pass,
    keeper,
    deafen: () => (confirms = false),
    disconnect: () => (connected = false),
    losses: () => losses,
  };
}

test('a lease is held as long as its signs of life are confirmed', async () => {
  const { lease, sent, pass, keeper } = setup();
  await pass(4 * ackWaitMs);
  expect(lease.isHeld()).toBe(true);
  expect(sent.filter((word) => word === 'working').length).toBeGreaterThanOrEqual(8);
  lease.finish();
  expect(sent.at(-1)).toBe('ack');
  expect(keeper.count()).toBe(0);
});

test('everybody who listens hears each sign of life', async () => {
  const { lease, sent, pass } = setup();
  const heard: string[] = [];
  lease.onBeat(() => heard.push('first'));
  lease.onBeat(() => heard.push('second'));
  await pass(2 * ackWaitMs);
  const beats = sent.filter((word) => word === 'working').length;
  expect(heard).toEqual(Array<string[]>(beats).fill(['first', 'second']).flat());
  lease.finish();
});

test('without a confirmation it is over after one ack wait, for good, and nothing is sent', async () => {
  const { lease, sent, pass, deafen } = setup();
  const lost = jest.fn();
  lease.onLost(lost);
  deafen();
  await pass(ackWaitMs + 250);
  expect(lease.isHeld()).toBe(false);
  expect(lost).toHaveBeenCalledTimes(1);
  const words = sent.length;
  lease.finish();
  lease.handBack();
  expect(sent).toHaveLength(words);
});

test('a process that was stopped for long finds its lease over before it sends anything', async () => {
  const { lease, time, sent } = setup();
  time.wall += ackWaitMs + 1; // The monotonic clock stands still over some suspends.
  lease.finish();
  expect(sent).toEqual([]);
  expect(lease.isHeld()).toBe(false);
});

test('what a process that stood still finds in its socket has lain there for as long, and may be another’s', async () => {
  const { grant, time, pass, deafen } = setup();
  const stand = (ms: number): void => {
    time.wall += ms;
    time.monotonic += ms;
  };
  await pass(1_000);
  stand(ackWaitMs);
  expect(grant().isHeld()).toBe(false);
  // Also what is read only once the timers have come to their turn.
  await pass(250);
  expect(grant().isHeld()).toBe(false);
  await pass(500);
  expect(grant().isHeld()).toBe(true);
  stand(ackWaitMs - 1_000);
  const confirmed = grant();
  await pass(1_500);
  expect(confirmed.isHeld()).toBe(true);
  deafen();
  stand(ackWaitMs - 1_000);
  const unconfirmed = grant();
  await pass(1_000);
  expect(unconfirmed.isHeld()).toBe(false);
});

test('the same delivery is not granted twice while it is held; the next one of its message is', async () => {
  const { lease, delivery, keeper, pass, deafen } = setup();
  expect(keeper.grant(delivery)).toBeUndefined();
  expect(lease.isHeld()).toBe(true);
  const next = keeper.grant({ ...delivery, deliveryCount: 2 })!;
  expect(next.isHeld()).toBe(true);
  lease.finish();
  next.handBack();
  expect(keeper.grant(delivery)!.isHeld()).toBe(true);
  deafen();
  await pass(2 * ackWaitMs);
  expect(keeper.grant(delivery)!.isHeld()).toBe(true);
  expect(keeper.count()).toBe(1);
});

test('without a connection no sign of life is sent that would arrive late', async () => {
  const { lease, sent, pass, disconnect } = setup();
  disconnect();
  await pass(ackWaitMs + 250);
  expect(sent).toEqual([]);
  expect(lease.isHeld()).toBe(false);
});

test('all that are held are handed back at once when the executor goes', () => {
  const { lease, sent, keeper } = setup();
  const lost = jest.fn();
  lease.onLost(lost);
  keeper.handBackAll('the executor stops');
  expect(sent).toEqual(['nak']);
  expect(lost).toHaveBeenCalledWith('the executor stops');
  expect(lease.isHeld()).toBe(false);
  expect(keeper.count()).toBe(0);
});

test('only what was lost counts as lost, not what was answered or handed back', async () => {
  const given = setup();
  given.lease.handBack();
  expect(given.losses()).toBe(0);
  const stopped = setup();
  stopped.keeper.handBackAll('the executor stops');
  expect(stopped.losses()).toBe(0);
  const unreadable = setup();
  unreadable.lease.discard();
  unreadable.lease.abandon('again');
  expect(unreadable.sent).toEqual(['term']);
  expect(unreadable.losses()).toBe(0);
  const superseded = setup();
  superseded.lease.abandon('superseded');
  superseded.lease.abandon('again');
  expect(superseded.losses()).toBe(1);
});
