import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { runUpdateSchema } from '@ironflow/schema';
import type { RunUpdate } from '@ironflow/schema';
import { eventually } from '@ironflow/testing';
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

const greet = { id: 'greet', name: 'greet', type: 'run' as const, attempt: 1, startedAtMs: 1, endedAtMs: 2 };
const completedStep = { ...greet, status: 'completed' as const, output: '"not sent"' };
const ending = { status: 'completed' as const, served: 1, ended: true, output: '{"ok":true}' };

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
