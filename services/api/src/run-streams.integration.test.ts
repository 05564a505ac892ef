import { IncomingMessage, ServerResponse } from 'node:http';
import { connect, Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createApiStore, createDatabase } from '@ironflow/database';
import { runUpdateSchema } from '@ironflow/schema';
import type { RunUpdate } from '@ironflow/schema';
import { createLogger, createMetrics } from '@ironflow/service';
import { createManualClock, eventually } from '@ironflow/testing';
import { createRunStreams } from './run-streams.js';
import { startApiUnderTest } from './testing/api-under-test.js';
import type { ApiUnderTest } from './testing/api-under-test.js';

let under: ApiUnderTest;
beforeAll(async () => {
  under = await startApiUnderTest({ heartbeatMs: 300, streamsMax: 2 });
}, 60_000);
afterAll(() => under.stop());

interface Watching {
  status: number;
  contentType: string | null;
  updates: RunUpdate[];
  heartbeats: number;
  isEnded: boolean;
  stop(): void;
}

async function watch(runId: string, key = under.acme.apiKey): Promise<Watching> {
  const gone = new AbortController();
  const response = await fetch(`${under.url}/v1/runs/${runId}/watch`, {
    headers: { authorization: `Bearer ${key}` },
    signal: gone.signal,
  });
  const watching: Watching = {
    status: response.status,
    contentType: response.headers.get('content-type'),
    updates: [],
    heartbeats: 0,
    isEnded: false,
    stop: () => gone.abort(),
  };
  void read(response, watching).catch(() => undefined);
  return watching;
}

async function read(response: Response, watching: Watching): Promise<void> {
  let text = '';
  const decoder = new TextDecoder();
  for await (const chunk of response.body!) {
    text += decoder.decode(chunk as Uint8Array, { stream: true });
    const blocks = text.split('\n\n');
    text = blocks.pop()!;
    for (const block of blocks) {
      const data = /^event: run\ndata: (.*)$/.exec(block)?.[1];
      if (data === undefined) watching.heartbeats += block === ': heartbeat' ? 1 : 0;
      else watching.updates.push(runUpdateSchema.strict().parse(JSON.parse(data)));
    }
  }
  watching.isEnded = true;
}

async function streamsOpen(): Promise<string | undefined> {
  const metrics = await (await fetch(`${under.url}/metrics`)).text();
  return /ironflow_api_run_streams\{?[^}\n]*\}? (\d+)/.exec(metrics)?.[1];
}

const greet = { id: 'greet', name: 'greet', type: 'run' as const, attempt: 1, startedAtMs: 1, endedAtMs: 2 };
const completedStep = { ...greet, status: 'completed' as const, output: '"not sent"' };
const ending = { status: 'completed' as const, served: 1, output: '{"ok":true}' };

test('a run is shown as it is, as it changes, and to its end', async () => {
  const run = { scope: under.acme.scope, ...(await under.addRun(under.acme.scope)) };
  const watching = await watch(run.runId);
  expect(watching).toMatchObject({ status: 200, contentType: 'text/event-stream; charset=utf-8' });
  await eventually(() => expect(watching.updates).toHaveLength(1));
  expect(watching.updates[0]).toMatchObject({ id: run.runId, status: 'queued', steps: [] });

  await under.progress(
    run,
    { prev: 0, journalSeq: 1, steps: [completedStep], status: 'running' },
    { what: 'progressed', status: 'running' },
  );
  await eventually(() => expect(watching.updates).toHaveLength(2));
  expect(watching.updates[1]).toMatchObject({
    status: 'running',
    steps: [{ id: 'greet', status: 'completed' }],
  });
  expect(JSON.stringify(watching.updates)).not.toContain('not sent');

  await under.progress(
    run,
    { prev: 1, journalSeq: 2, ...ending },
    { what: 'completed', status: 'completed' },
  );
  await eventually(() => expect(watching.isEnded).toBe(true));
  expect(watching.updates.at(-1)).toMatchObject({ status: 'completed', output: { ok: true } });
});

test('a run that has ended is shown once', async () => {
  const run = { scope: under.acme.scope, ...(await under.addRun(under.acme.scope)) };
  await under.progress(run, { prev: 0, journalSeq: 1, ...ending }, 'quietly');
  const watching = await watch(run.runId);
  await eventually(() => expect(watching.isEnded).toBe(true));
  expect(watching.updates.map(({ status }) => status)).toEqual(['completed']);
});

test('a lost notice costs no more than a heartbeat', async () => {
  const run = { scope: under.acme.scope, ...(await under.addRun(under.acme.scope)) };
  const watching = await watch(run.runId);
  await eventually(() => expect(watching.heartbeats).toBeGreaterThan(0));
  await under.progress(run, { prev: 0, journalSeq: 1, ...ending }, 'quietly');
  await eventually(() => expect(watching.isEnded).toBe(true));
  expect(watching.updates.at(-1)).toMatchObject({ status: 'completed' });
});

test('the number of streams is bounded, and a reader that leaves makes room', async () => {
  const { runId } = await under.addRun(under.acme.scope);
  const watching = [await watch(runId), await watch(runId)];
  const refused = await under.request('GET', `/v1/runs/${runId}/watch`);
  expect(refused).toMatchObject({ status: 503, body: { error: { code: 'too_many_streams' } } });
  for (const stream of watching) stream.stop();
  const next = await eventually(async () => {
    const another = await watch(runId);
    expect(another.status).toBe(200);
    return another;
  });
  next.stop();
});

test('a watcher that leaves before anything was sent makes room', async () => {
  const { runId } = await under.addRun(under.acme.scope);
  await eventually(async () => expect(await streamsOpen()).toBe('0'));
  const held = await holdRuns();
  const socket = connect({ host: '127.0.0.1', port: Number(new URL(under.url).port) });
  const authorization = `Bearer ${under.acme.apiKey}`;
  socket.write(`GET /v1/runs/${runId}/watch HTTP/1.1\r\nHost: a\r\nAuthorization: ${authorization}\r\n\r\n`);
  // Its first read waits for the lock.
  await eventually(async () => expect(await held.waiting()).toBe(1));
  const isGone = new Promise((resolve) => socket.once('close', resolve));
  socket.destroy();
  await isGone;
  // Whoever is served after it left proves that the server has heard so.
  expect((await fetch(`${under.url}/healthz`)).status).toBe(200);
  await held.release();
  const room = [await watch(runId), await watch(runId)];
  expect(room.map(({ status }) => status)).toEqual([200, 200]);
  for (const watching of room) watching.stop();
  await eventually(async () => expect(await streamsOpen()).toBe('0'));
});

/** Makes reads of runs wait. */
async function holdRuns() {
  let release = (): void => undefined;
  const isReleased = new Promise<void>((resolve) => (release = resolve));
  let isHeld = (): void => undefined;
  const holding = new Promise<void>((resolve) => (isHeld = resolve));
  const owner = createDatabase({ url: under.ownerUrl, applicationName: 'holder' });
  const done = owner.transaction(async (transaction) => {
    await transaction.query({ name: 'lock', text: 'lock table runs in access exclusive mode' }, []);
    isHeld();
    await isReleased;
  });
  await holding;
  return {
    waiting: async () => {
      const [row] = await owner.query<{ count: number }>(
        {
          name: 'waiting',
          text: `select count(*)::int from pg_stat_activity where wait_event_type = 'Lock'
            and application_name = 'ironflow_tenant'`,
        },
        [],
      );
      return row!.count;
    },
    release: async () => {
      release();
      await done;
      await owner.close();
    },
  };
}

test('a key that is revoked ends its streams with the next heartbeat', async () => {
  let elapsedMs = 0;
  const other = await startApiUnderTest({ heartbeatMs: 100, elapsedMs: () => elapsedMs });
  try {
    const { runId } = await other.addRun(other.acme.scope);
    const key = await other.addKey(other.acme.scope, 'viewer');
    const response = await fetch(`${other.url}/v1/runs/${runId}/watch`, {
      headers: { authorization: `Bearer ${key}` },
    });
    await other.revokeKeys(other.acme.scope, 'viewer');
    // What is known of a key is trusted for ten seconds.
    elapsedMs = 10_000;
    expect(await response.text()).toContain('"status":"queued"');
  } finally {
    await other.stop();
  }
}, 60_000);

test('a reader that does not read is let go', async () => {
  const { runId, eventId } = await under.addRun(under.acme.scope);
  const run = { scope: under.acme.scope, runId, eventId };
  const socket = connect({ host: '127.0.0.1', port: Number(new URL(under.url).port) });
  socket.pause();
  const isGone = new Promise((resolve) => socket.once('close', resolve).on('error', () => undefined));
  const authorization = `Bearer ${under.acme.apiKey}`;
  socket.write(`GET /v1/runs/${runId}/watch HTTP/1.1\r\nHost: a\r\nAuthorization: ${authorization}\r\n\r\n`);
  await eventually(async () => expect(await streamsOpen()).toBe('1'));
  // Each update shows all steps so far: a few of them are more than sockets and the allowance hold.
  const message = 'x'.repeat(8 * 1024);
  for (let journalSeq = 1; (await streamsOpen()) !== '0'; journalSeq += 1) {
    expect(journalSeq).toBeLessThan(60);
    const steps = Array.from({ length: 50 }, (_, index) => ({
      ...greet,
      ...{ id: `${journalSeq}.${index}`, status: 'failed' as const, error: { name: 'Error', message } },
    }));
    await under.progress(
      run,
      { prev: journalSeq - 1, journalSeq, steps, status: 'running' },
      { what: 'progressed', status: 'running' },
    );
  }
  socket.resume();
  await isGone;
}, 60_000);

test('reads that fail are tried again ever more slowly, down to the heartbeat', async () => {
  const { runId } = await under.addRun(under.acme.scope);
  const store = createApiStore(under.platform);
  const clock = createManualClock();
  const readAtMs: number[] = [];
  let isAway = false;
  const response = new ServerResponse(new IncomingMessage(new Socket()));
  const streams = createRunStreams({
    jetstream: under.jetstream,
    store: {
      getRunUpdate: async (...of) => {
        readAtMs.push(clock.now() - startedAtMs);
        if (isAway) throw new Error('away');
        return store.getRunUpdate(...of);
      },
    },
    ...{
      logger: createLogger({ service: 'test', level: 'silent' }),
      clock,
      heartbeatMs: 10_000,
      metrics: createMetrics({ service: 'test' }),
    },
  });
  const startedAtMs = clock.now();
  await streams.watch({
    scope: under.acme.scope,
    runId,
    open: () => response,
    isAllowed: () => Promise.resolve(true),
  });
  // The first read, and the one after it.
  await eventually(() => expect(clock.pending).toBe(2));
  isAway = true;
  // The heartbeat begins it: then after 1, 2 and 4 seconds, and never less often than the heartbeat.
  await clock.advance(45_000);
  expect(readAtMs.slice(2)).toEqual([10_000, 11_000, 13_000, 17_000, 25_000, 35_000, 45_000]);
  response.destroy();
  await streams.stop();
});

test('an api that stops ends its streams', async () => {
  const other = await startApiUnderTest();
  const { runId } = await other.addRun(other.acme.scope);
  const response = await fetch(`${other.url}/v1/runs/${runId}/watch`, {
    headers: { authorization: `Bearer ${other.acme.apiKey}` },
  });
  const text = response.text();
  await other.stop();
  expect(await text).toContain('"status":"queued"');
}, 60_000);
