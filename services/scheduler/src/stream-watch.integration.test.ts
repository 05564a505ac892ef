/** On a cluster of three: what is told of queues is right, or is not told. */
import { randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { connectJetStream } from '@ironflow/jetstream';
import type { JetStream, PullConsumer } from '@ironflow/jetstream';
import { consumers, createId, laneToken, pullConsumer, streams, subjects } from '@ironflow/schema';
import type { ExecutorBacklog, RunMode, Scope } from '@ironflow/schema';
import { createMetrics } from '@ironflow/service';
import type { Metrics } from '@ironflow/service';
import { createScratch, eventually, startNatsCluster } from '@ironflow/testing';
import type { NatsCluster, NatsServer, Scratch } from '@ironflow/testing';
import { createStreamWatch } from './stream-watch.js';
import type { StreamWatch } from './stream-watch.js';

const newId = (): string => createId(Date.now(), randomBytes(10));
const scope: Scope = { project: 'acme', env: 'prod', environmentId: newId() };
const patience = { timeoutMs: 30_000, intervalMs: 100 };
const { stream, durable } = consumers.pushExecutor;

let scratch: Scratch;
let cluster: NatsCluster;
let jetstream: JetStream;
const paused: NatsServer[] = [];

beforeAll(async () => {
  scratch = await createScratch('stream-watch');
  cluster = await startNatsCluster({ storeDir: scratch.path });
  jetstream = await connect(cluster.urls.join());
}, 90_000);
afterEach(() => {
  for (const { pid } of paused.splice(0)) process.kill(pid, 'SIGCONT');
});
afterAll(async () => {
  await jetstream?.close();
  await cluster?.stop();
  await scratch?.remove();
}, 60_000);

function connect(url: string): Promise<JetStream> {
  return connectJetStream({ url, name: 'test', replicas: 3, requestTimeoutMs: 1_500 });
}

async function publishActivations(
  count: number,
  {
    through = jetstream,
    appId = 'shop',
    mode = 'push',
  }: { through?: JetStream; appId?: string; mode?: RunMode } = {},
): Promise<void> {
  for (let index = 0; index < count; index += 1) {
    const run = { mode, appId, functionId: 'f', runId: newId() };
    const publication = { subject: subjects.activation(scope, run), data: '{}' };
    // What was not answered may have been stored.
    await eventually(async () => {
      const { kind } = await through.publisher.publish(publication);
      expect(['stored', 'subject_taken']).toContain(kind);
    }, patience);
  }
}

/** By the servers other than this one. */
function connectBeside(server: NatsServer): Promise<JetStream> {
  return connect(
    cluster.servers
      .filter((other) => other !== server)
      .map(({ url }) => url)
      .join(),
  );
}

interface Answer {
  cluster?: { leader?: string };
  error?: { description: string };
}

/** Leaders may be changing. */
function ask(subject: string): Promise<Answer> {
  return eventually(async () => {
    const reply = await jetstream.connection.request({ subject: `$JS.API.${subject}`, data: '' });
    if (reply.kind !== 'message') throw new Error(`${subject}: ${reply.kind}`);
    const answer = JSON.parse(Buffer.from(reply.data).toString()) as Answer;
    if (answer.error !== undefined) throw new Error(`${subject}: ${answer.error.description}`);
    return answer;
  }, patience);
}

async function leaderOf(what: string): Promise<NatsServer> {
  const name = (await ask(what)).cluster?.leader;
  const leader = cluster.servers.find(({ serverName }) => serverName === name);
  if (leader === undefined) throw new Error(`${what} has no leader`);
  return leader;
}

function pause(server: NatsServer): void {
  process.kill(server.pid, 'SIGSTOP');
  paused.push(server);
}

interface Watched {
  watch: StreamWatch;
  metrics: Metrics;
}

/** Whose answers are asked for anew each time. */
function watchOf(of: JetStream, slots: Record<string, number> = {}): Watched {
  let nowMs = 0;
  const metrics = createMetrics({ service: 'scheduler' });
  const watch = createStreamWatch({
    states: of.states,
    countExecutors: () => Promise.resolve(2),
    presence: { slotsOf: (lane) => slots[laneToken(lane)] ?? 0 },
    metrics,
    clock: { now: () => (nowMs += 10_000), setTimeout: () => ({ cancel: () => undefined }) },
  });
  return { watch, metrics };
}

/** Every answer while something goes on, and until there is one again. */
async function answersDuring(watch: StreamWatch, work: () => Promise<unknown>): Promise<ExecutorBacklog[]> {
  const answers: ExecutorBacklog[] = [];
  let isOver = false;
  const over = work().finally(() => (isOver = true));
  while (!isOver) {
    const answer = await watch.executorBacklog().catch(() => undefined);
    if (answer !== undefined) answers.push(answer);
  }
  await over;
  answers.push(await eventually(() => watch.executorBacklog(), patience));
  return answers;
}

async function changeLeaders(rounds: number): Promise<void> {
  for (let round = 0; round < rounds; round += 1) {
    await ask(`CONSUMER.LEADER.STEPDOWN.${stream}.${durable}`);
    await eventually(() => leaderOf(`CONSUMER.INFO.${stream}.${durable}`), patience);
    await ask(`STREAM.LEADER.STEPDOWN.${stream}`);
    await eventually(() => leaderOf(`STREAM.INFO.${stream}`), patience);
  }
}

const waiting = 40;
const held = 10;
const expected = { backlog: waiting, active: held, executors: 2, perExecutor: waiting / 2 };

describe('with activations that wait and some that are driven', () => {
  let executor: PullConsumer;

  beforeEach(async () => {
    await ask(`STREAM.PURGE.${stream}`);
    let taken = 0;
    executor = jetstream.consume(consumers.pushExecutor, {
      capacity: () => held - taken,
      onDelivery: (delivery) => {
        taken += 1;
        const beat = setInterval(() => void delivery.working(), 1_000);
        beats.push(beat);
      },
    });
    await publishActivations(waiting + held);
    await eventually(() => expect(taken).toBe(held), patience);
  }, 60_000);
  const beats: NodeJS.Timeout[] = [];
  afterEach(() => {
    executor.stop();
    beats.splice(0).forEach((beat) => clearInterval(beat));
  });

  test('the backlog is right through changes of leaders, or not told', async () => {
    const { watch } = watchOf(jetstream);
    await eventually(async () => expect(await watch.executorBacklog()).toEqual(expected), patience);
    const answers = await answersDuring(watch, () => changeLeaders(3));
    expect(answers.length).toBeGreaterThan(3);
    for (const answer of answers) expect(answer).toEqual(expected);
  }, 120_000);

  test('a follower that is stopped falls behind, and says nothing when it leads again', async () => {
    const leader = await leaderOf(`CONSUMER.INFO.${stream}.${durable}`);
    const follower = cluster.servers.find((server) => server !== leader)!;
    const well = await connectBeside(follower);
    const { watch, metrics } = watchOf(well);
    try {
      pause(follower);
      await publishActivations(20, { through: well });
      const more = { ...expected, backlog: waiting + 20, perExecutor: (waiting + 20) / 2 };
      await eventually(async () => expect(await watch.executorBacklog()).toEqual(more), patience);
      await eventually(
        async () => expect(await metrics.render()).toMatch(/stream_replicas_behind\{[^}]*"STEPS"[^}]*\} 1\n/),
        patience,
      );
      process.kill(follower.pid, 'SIGCONT');
      const answers = await answersDuring(watch, () => changeLeaders(4));
      for (const answer of answers) expect(answer).toEqual(more);
    } finally {
      process.kill(follower.pid, 'SIGCONT');
      await well.close();
    }
  }, 120_000);

  test('a replica whose own server is stopped does not know, while another tells the truth', async () => {
    const leader = await leaderOf(`CONSUMER.INFO.${stream}.${durable}`);
    const follower = cluster.servers.find((server) => server !== leader)!;
    const cut = await connect(follower.url);
    const well = await connectBeside(follower);
    try {
      pause(follower);
      await expect(watchOf(cut).watch.executorBacklog()).rejects.toMatchObject({ category: 'unavailable' });
      await eventually(
        async () => expect(await watchOf(well).watch.executorBacklog()).toEqual(expected),
        patience,
      );
    } finally {
      process.kill(follower.pid, 'SIGCONT');
      await Promise.all([cut.close(), well.close()]);
    }
  }, 120_000);
});

test('pull activations are told by lane, and count as far as their workers have room', async () => {
  await ask(`STREAM.PURGE.${stream}`);
  const lane = { appId: 'desk' };
  const filterSubject = subjects.pullActivationsOf(scope, lane);
  await jetstream.provisioner.ensureConsumer(
    pullConsumer({ environmentId: scope.environmentId, lane, filterSubject }),
  );
  await publishActivations(9, { appId: 'desk', mode: 'pull' });
  const { watch, metrics } = watchOf(jetstream, { desk: 4 });
  await eventually(
    async () => expect(await watch.executorBacklog()).toMatchObject({ backlog: 4, active: 0 }),
    patience,
  );
  const text = await metrics.render();
  expect(text).toMatch(/ironflow_executor_backlog\{[^}]*\} 4\n/);
  expect(text).toMatch(/ironflow_consumer_pending\{stream="STEPS",consumer="pull",[^}]*\} 9\n/);
  expect(text).toMatch(/ironflow_consumer_pending\{stream="RESULTS",consumer="circuit-breaker",[^}]*\} 0\n/);
}, 60_000);

test('without a majority nothing is told: neither a zero nor anything else', async () => {
  const { watch, metrics } = watchOf(jetstream);
  await eventually(() => watch.executorBacklog(), patience);
  const leader = await leaderOf(`CONSUMER.INFO.${stream}.${durable}`);
  const others = cluster.servers.filter((server) => server !== leader);
  await Promise.all(others.map((server) => server.kill()));
  await eventually(
    () => expect(watch.executorBacklog()).rejects.toMatchObject({ category: 'unavailable' }),
    patience,
  );
  // Whoever led goes on to tell for some twenty seconds after it has lost the others.
  await eventually(
    async () => {
      const text = await metrics.render();
      for (const name of Object.keys(streams)) {
        expect(text).toMatch(new RegExp(`ironflow_stream_leader\\{[^}]*"${name}"[^}]*\\} 0\n`));
      }
      expect(text).not.toContain('ironflow_executor_backlog{');
      expect(text).not.toContain('ironflow_consumer_pending{');
      expect(text).not.toContain('ironflow_stream_messages{');
    },
    { ...patience, timeoutMs: 60_000 },
  );
  await Promise.all(others.map((server) => server.restart()));
  await cluster.waitUntilReady();
  await eventually(() => watch.executorBacklog(), { ...patience, timeoutMs: 60_000 });
}, 180_000);
