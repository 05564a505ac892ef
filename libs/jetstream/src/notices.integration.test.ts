import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { randomBytes } from 'node:crypto';
import { createId, subjectFilters, subjects } from '@ironflow/schema';
import type { RunNotice, Scope } from '@ironflow/schema';
import { eventually, sharedNats, stopSharedServers } from '@ironflow/testing';
import { announceService, countReplicas } from './discovery.js';
import { connectJetStream } from './jetstream.js';
import type { JetStream } from './jetstream.js';

const newId = (): string => createId(Date.now(), randomBytes(10));
const scope: Scope = { project: 'acme', env: 'prod', environmentId: newId() };
let jetstream: JetStream;
const logged: string[] = [];
beforeAll(async () => {
  const { url } = await sharedNats();
  const keep = (line: string): void => void logged.push(line);
  const log = { info: keep, warn: keep };
  jetstream = await connectJetStream({ url, name: 'test', replicas: 1, log });
});
afterAll(async () => {
  await jetstream.close();
  await stopSharedServers();
});

const notice = (): RunNotice => ({
  scope,
  runId: newId(),
  eventId: newId(),
  functionId: 'f',
  appId: 'shop',
  mode: 'push',
  status: 'completed',
  journalSeq: 1_763_719_200_000_000,
  wake: 1,
  served: 1,
  steps: [],
  output: '"\\ud800"',
});

test('everybody hears a notice, but only one member of a queue does', async () => {
  const sent = Array.from({ length: 30 }, notice);
  const all: RunNotice[] = [];
  const shared: RunNotice[] = [];
  const stops = [
    jetstream.notices.onRun(subjectFilters.everyRunNotice, (heard) => all.push(heard)),
    jetstream.notices.onRun(subjectFilters.everyRunNotice, (heard) => shared.push(heard), 'schedulers'),
    jetstream.notices.onRun(subjectFilters.everyRunNotice, (heard) => shared.push(heard), 'schedulers'),
  ];
  for (const one of sent) jetstream.notices.publishRun(one, 'completed');
  await eventually(() => expect(all).toEqual(sent));
  await eventually(() => expect(shared).toHaveLength(30));
  expect(new Set(shared.map(({ runId }) => runId)).size).toBe(30);
  for (const stop of stops) stop();
});

test('a listener of one run hears that run alone, and garbage on its subject harms nobody', async () => {
  const [mine, other] = [notice(), notice()];
  const heard: RunNotice[] = [];
  const stop = jetstream.notices.onRun(subjects.runNoticesOf(scope, mine.runId), (one) => heard.push(one));
  const subject = subjects.runNotice(scope, mine.runId, 'completed');
  jetstream.connection.publish({ subject, data: 'SECRET not json' });
  jetstream.connection.publish({ subject, data: '{}' });
  jetstream.notices.publishRun(other, 'completed');
  jetstream.notices.publishRun(mine, 'completed');
  await eventually(() => expect(heard).toEqual([mine]));
  expect(logged.join()).toContain(`failed on ${subject}`);
  expect(logged.join()).not.toContain('SECRET');
  stop();
});

test('what a listener does not want is not even parsed', async () => {
  const [mine, other] = [notice(), notice()];
  const heard: RunNotice[] = [];
  const asked: string[] = [];
  const stop = jetstream.notices.onRun(
    subjectFilters.everyRunNotice,
    (one) => heard.push(one),
    undefined,
    (runId) => {
      asked.push(runId);
      return runId === mine.runId;
    },
  );
  const logsBefore = logged.length;
  jetstream.connection.publish({
    subject: subjects.runNotice(scope, other.runId, 'completed'),
    data: 'not json',
  });
  jetstream.notices.publishRun(mine, 'completed');
  await eventually(() => expect(heard).toEqual([mine]));
  expect(asked).toEqual([other.runId, mine.runId]);
  expect(logged).toHaveLength(logsBefore);
  stop();
});

test('an announced service answers on $SRV until it is withdrawn', async () => {
  const withdraw = await announceService(jetstream.connection, {
    name: 'test',
    version: '0.1.0',
    description: 'for this test',
  });
  const reply = await jetstream.connection.request({ subject: '$SRV.PING.ironflow-test', data: '' });
  expect(reply.kind).toBe('message');
  if (reply.kind === 'message') {
    expect(JSON.parse(Buffer.from(reply.data).toString())).toMatchObject({ name: 'ironflow-test' });
  }
  await withdraw();
});

test('replicas of a service are counted while they are there, and those of another are not', async () => {
  const announce = (name: string) =>
    announceService(jetstream.connection, { name, version: '1.0.0', description: 'test' });
  const leave = [await announce('counted'), await announce('counted'), await announce('other')];
  expect(await countReplicas(jetstream.connection, 'counted')).toBe(2);
  await leave[0]!();
  expect(await countReplicas(jetstream.connection, 'counted')).toBe(1);
  await Promise.all(leave.slice(1).map((withdraw) => withdraw()));
  expect(await countReplicas(jetstream.connection, 'counted')).toBe(0);
});

test('that quotas were set is heard by everybody, of whichever environment', async () => {
  const heard: string[] = [];
  const stops = [1, 2].map((listener) =>
    jetstream.notices.onQuotas((quotas) => heard.push(`${listener} ${quotas.scope.environmentId}`)),
  );
  await jetstream.connection.nats.flush();
  jetstream.notices.publishQuotas({ scope });
  await eventually(() => {
    expect(heard.sort()).toEqual([`1 ${scope.environmentId}`, `2 ${scope.environmentId}`]);
  });
  for (const stop of stops) stop();
});
