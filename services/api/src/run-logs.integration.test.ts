import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createExecutorStore } from '@ironflow/database';
import type { NewLogLine } from '@ironflow/database';
import { deriveLogLineId, runLogsPageSchema } from '@ironflow/schema';
import type { RunLogsPage } from '@ironflow/schema';
import { createClient } from '@ironflow/sdk';
import { startApiUnderTest } from './testing/api-under-test.js';
import type { ApiUnderTest } from './testing/api-under-test.js';

let under: ApiUnderTest;
beforeAll(async () => {
  under = await startApiUnderTest();
}, 60_000);
afterAll(() => under.stop());

const atMs = Date.UTC(2030, 0, 1);
const mark = 'LINE-THAT-NOBODY-MAY-LOG';

async function addLines(runId: string, from: number, count: number): Promise<void> {
  const { environmentId } = under.acme.scope;
  const lines = Array.from({ length: count }, (_, index): NewLogLine => {
    const sequence = from + index;
    const id = deriveLogLineId({ activation: 1, activatedAtMs: atMs, call: 0, sequence });
    const isStep = sequence % 2 === 1;
    return {
      ...{ environmentId, runId, id, atMs, level: isStep ? 'warn' : 'info', message: `${mark} ${sequence}` },
      ...(isStep ? { step: { id: 'charge', attempt: 1 }, fields: '{"n":1}' } : {}),
    };
  });
  await createExecutorStore(under.platform).storeLogLines(lines, 1_000);
}

async function read(runId: string, query = ''): Promise<RunLogsPage> {
  const answer = await under.request('GET', `/v1/runs/${runId}/logs${query}`);
  expect(answer.status).toBe(200);
  return runLogsPageSchema.strict().parse(answer.body);
}

test('what a run’s logger wrote is read page by page, by level and by step, of one’s own environment alone', async () => {
  const { runId } = await under.addRun(under.acme.scope);
  await addLines(runId, 0, 5);
  const all = await read(runId);
  expect(all.lines.map(({ message }) => message)).toEqual([0, 1, 2, 3, 4].map((n) => `${mark} ${n}`));
  expect(all.lines[1]).toMatchObject({
    ...{ at: '2030-01-01T00:00:00.000Z', level: 'warn', fields: { n: 1 } },
    step: { id: 'charge', attempt: 1 },
  });
  expect([all.ended, all.nextCursor]).toEqual([false, undefined]);
  const first = await read(runId, '?limit=2');
  const rest = await read(runId, `?limit=10&cursor=${first.nextCursor}`);
  expect([...first.lines, ...rest.lines]).toEqual(all.lines);
  expect((await read(runId, '?level=warn&step=charge')).lines).toHaveLength(2);
  expect((await read(runId, '?level=error')).lines).toEqual([]);
  expect(await under.request('GET', `/v1/runs/${runId}`)).toMatchObject({ body: { logLines: 5 } });

  const key = under.globex.apiKey;
  expect(await under.request('GET', `/v1/runs/${runId}/logs`, { key })).toMatchObject({
    ...{ status: 404, body: { error: { code: 'run_not_found' } } },
  });
  expect(await under.request('GET', `/v1/runs/${runId}/logs?cursor=none`)).toMatchObject({
    ...{ status: 400, body: { error: { code: 'cursor_invalid' } } },
  });
  for (const query of ['level=loud', 'limit=0', 'limit=1001', 'order=desc']) {
    expect((await under.request('GET', `/v1/runs/${runId}/logs?${query}`)).status).toBe(400);
  }
  expect(under.logged()).not.toContain(mark);
});

test('whoever follows is given what comes, in order and once, until the run has ended', async () => {
  const { eventId, runId } = await under.addRun(under.acme.scope);
  await addLines(runId, 0, 3);
  const { url: ironflowUrl, acme } = under;
  const client = createClient({ ironflowUrl, apiKey: acme.apiKey });
  const followed: string[] = [];
  for await (const { message } of client.runs.followLogs(runId, { level: 'info' })) {
    followed.push(message);
    if (followed.length === 3) await addLines(runId, 3, 2);
    if (followed.length !== 5) continue;
    const run = { scope: acme.scope, runId, eventId };
    await under.progress(run, { prev: 0, journalSeq: 1, status: 'completed', served: 1 }, 'quietly');
    // On its way as the run ended.
    await addLines(runId, 5, 1);
  }
  expect(followed).toEqual([0, 1, 2, 3, 4, 5].map((n) => `${mark} ${n}`));

  const leave = new AbortController();
  const { runId: other } = await under.addRun(under.acme.scope);
  await addLines(other, 0, 1);
  const following = (async () => {
    for await (const { message } of client.runs.followLogs(other, { signal: leave.signal })) {
      if (message === `${mark} 0`) leave.abort();
    }
  })();
  await expect(following).rejects.toMatchObject({ name: 'AbortError' });
}, 20_000);
