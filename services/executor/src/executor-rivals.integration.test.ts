import { beforeAll, describe, expect, test } from '@jest/globals';
import { pullConsumer, subjects } from '@ironflow/schema';
import type { ConsumerDefinition, Scope } from '@ironflow/schema';
import { eventually } from '@ironflow/testing';
import { completed, end, record } from './testing/raw-worker.js';
import { stepIds, useWorld } from './testing/suite.js';
import type { RunningExecutor, World } from './testing/world.js';

const suite = useWorld();
const { activated, connect, createApp, ended, start, undo } = suite;
let world: World;
let scope: Scope;
beforeAll(() => {
  world = suite.world();
  scope = world.ours.scope;
});

const definitionOf = (appId: string): ConsumerDefinition =>
  pullConsumer({
    environmentId: scope.environmentId,
    lane: { appId },
    filterSubject: subjects.pullActivationsOf(scope, { appId }),
  });

describe('two executors with the same activation', () => {
  test('write one journal: one wins each append, the other stops and sends nothing', async () => {
    const appId = await createApp();
    const [first, second] = [await start(), await start()];
    const a = await connect(first, appId, { slots: 1 });
    const run = await activated(appId);
    const stale = await a.next('activate');
    a.send(record(stale, 0, completed('one')));
    await a.next('recorded');
    const answers = hearAnswers(first);
    // The durable is made anew: its count begins at 1 again, and nothing tells the first executor.
    const b = await connect(second, appId, { slots: 1 });
    await world.jetstream.connection.request({
      subject: `$JS.API.CONSUMER.DELETE.STEPS.${definitionOf(appId).durable}`,
      data: '',
    });
    await world.jetstream.provisioner.ensureConsumer(definitionOf(appId));
    const current = await b.next('activate', 0, 15_000);
    expect(current.writer).toMatchObject({ activation: stale.writer.activation, delivery: 1 });
    expect(current.invocation.memo.map(({ id }) => id)).toEqual(['one']);
    b.send(record(current, 0, completed('two')));
    await b.next('recorded');
    a.send(record(stale, 1, completed('two')));
    await a.next('abort');
    const heard = answers.length;
    a.send(record(stale, 2, completed('three')), end(stale));
    b.send(end(current));
    expect(stepIds(await ended(run))).toEqual(['one', 'two']);
    expect(a.received.filter(({ type }) => type === 'recorded')).toHaveLength(1);
    expect(answers).toHaveLength(heard);
  });

  test('of which the newer has called the function: nothing of the older is taken any more', async () => {
    const appId = await createApp();
    const [first, second] = [await start(), await start()];
    const a = await connect(first, appId, { slots: 1 });
    const run = await activated(appId);
    const stale = await a.next('activate');
    const b = await connect(second, appId, { slots: 1 });
    await handBackForeign(appId);
    const current = await b.next('activate');
    expect(current.writer.delivery).toBe(2);
    a.send(record(stale, 0, completed('stale')));
    await a.next('abort');
    b.send(record(current, 0, completed('one')), end(current));
    expect(stepIds(await ended(run))).toEqual(['one']);
    expect(a.received.filter(({ type }) => type === 'recorded')).toEqual([]);
  });

  test('of which the older’s append comes after the newer one has read the run: no step that it stored begins again', async () => {
    const appId = await createApp();
    const [first, second] = [await start(), await start()];
    const a = await connect(first, appId, { slots: 1 });
    const run = await activated(appId);
    const stale = await a.next('activate');
    const b = await connect(second, appId, { slots: 1 });
    beforeNextAppend(second, async () => {
      a.send(record(stale, 0, completed('one')));
      await a.next('recorded');
    });
    await handBackForeign(appId);
    const current = await b.next('activate');
    expect(current.invocation.memo.map(({ id }) => id)).toEqual(['one']);
    b.send(record(current, 0, completed('two')));
    await b.next('recorded');
    a.send(record(stale, 1, completed('two')));
    await a.next('abort');
    b.send(end(current));
    expect(stepIds(await ended(run))).toEqual(['one', 'two']);
  });

  test('that are one and the same executor give the run to its newer delivery', async () => {
    const appId = await createApp();
    const executor = await start();
    const worker = await connect(executor, appId, { slots: 5 });
    const run = await activated(appId);
    const stale = await worker.next('activate');
    await handBackForeign(appId);
    const current = await worker.next('activate', 1);
    expect(await worker.next('abort')).toMatchObject({ writer: stale.writer });
    worker.send(record(stale, 0, completed('stale')), record(current, 0, completed('one')), end(current));
    expect(stepIds(await ended(run))).toEqual(['one']);
    await eventually(async () => expect(await executor.metrics()).toMatch(/active_activations\S* 0/));
  });
});

/** Holds the next append of an executor up until something else has happened. */
function beforeNextAppend(executor: RunningExecutor, happens: () => Promise<void>): void {
  const { nats } = executor.jetstream.connection;
  const publish = nats.publish.bind(nats);
  nats.publish = (subject, ...rest) => {
    if (!subject.includes('.results.')) return publish(subject, ...rest);
    nats.publish = publish;
    void happens().then(() => publish(subject, ...rest));
  };
  undo(() => (nats.publish = publish));
}

/** What an executor's own connection publishes about its deliveries from now on. */
function hearAnswers(executor: RunningExecutor): string[] {
  const answers: string[] = [];
  const { nats } = executor.jetstream.connection;
  const publish = nats.publish.bind(nats);
  nats.publish = (subject, ...rest) => {
    if (subject.startsWith('$JS.ACK.')) answers.push(subject);
    publish(subject, ...rest);
  };
  undo(() => (nats.publish = publish));
  return answers;
}

/** A stale executor's nak: NATS does not check whose the message is. The first sign of life tells its subject. */
async function handBackForeign(appId: string): Promise<void> {
  const { connection } = world.jetstream;
  let subject: string | undefined;
  const stop = connection.listen(`$JS.ACK.STEPS.${definitionOf(appId).durable}.>`, (message) => {
    subject ??= message.subject;
  });
  await connection.nats.flush();
  await eventually(() => expect(subject).toBeDefined());
  stop();
  connection.publish({ subject: subject!, data: '-NAK' });
}
