import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createCollectorStore } from '@ironflow/database';
import { deadLetterDetailSchema, deadLettersPageSchema } from '@ironflow/schema';
import { newId, startApiUnderTest } from './testing/api-under-test.js';
import type { ApiUnderTest } from './testing/api-under-test.js';

let under: ApiUnderTest;
let letterId: string;
let runId: string;

beforeAll(async () => {
  under = await startApiUnderTest();
  const { scope } = under.acme;
  const added = await under.addRun(scope, { mark });
  runId = added.runId;
  const error = { name: 'CardError', message: `declined ${mark}` };
  await under.progress(
    { scope, ...added },
    { prev: 0, journalSeq: 1, status: 'failed', error, served: 1 },
    'quietly',
  );
  letterId = newId();
  await createCollectorStore(under.platform).storeDeadLetters([
    {
      ...{ id: letterId, environmentId: scope.environmentId, subject: 'ironflow.shop.prod.ingest.a' },
      ...{ reason: 'unreadable', detail: 'data must be JSON text', occurredAtMs: Date.now() },
      payload: Buffer.from(mark).toString('base64'),
    },
  ]);
}, 60_000);
afterAll(() => under.stop());

const mark = 'PAYLOAD-THAT-NOBODY-MAY-LOG';
const theirs = () => ({ key: under.globex.apiKey });
const list = async (query = '', options = {}) =>
  deadLettersPageSchema.parse((await under.request('GET', `/v1/dead-letters${query}`, options)).body);

test('letters are listed in pages and by reason, each environment its own', async () => {
  const first = await list('?limit=1');
  const second = await list(`?limit=1&cursor=${first.nextCursor}`);
  expect([first, second].flatMap(({ deadLetters }) => deadLetters.map(({ reason }) => reason))).toEqual([
    ...['unreadable', 'run_failed'],
  ]);
  const failed = await list('?reason=run_failed');
  expect(failed.deadLetters).toMatchObject([{ runId, functionId: 'hello' }]);
  expect((await list('', theirs())).deadLetters).toEqual([]);
  expect((await list('?to=2020-01-01T00:00:00Z')).deadLetters).toEqual([]);
});

test.each(['?reason=bad', '?cursor=x', '?limit=0', '?status=failed'])('%s is refused', async (query) => {
  expect((await under.request('GET', `/v1/dead-letters${query}`)).status).toBe(400);
});

test('one letter comes with its message or its run’s error', async () => {
  const message = deadLetterDetailSchema.parse(
    (await under.request('GET', `/v1/dead-letters/${letterId}`)).body,
  );
  expect(message).toMatchObject({ payload: mark, payloadEncoding: 'utf8' });
  const [failed] = (await list('?reason=run_failed')).deadLetters;
  const run = deadLetterDetailSchema.parse(
    (await under.request('GET', `/v1/dead-letters/${failed!.id}`)).body,
  );
  expect(run).toMatchObject({ runId, error: { name: 'CardError' } });
  expect(run.payload).toBeUndefined();
});

test("a neighbour's letter is neither read nor discarded, and as unknown as any", async () => {
  for (const method of ['GET', 'DELETE']) {
    const stranger = await under.request(method, `/v1/dead-letters/${letterId}`, theirs());
    expect(stranger).toMatchObject({ status: 404, body: { error: { code: 'dead_letter_not_found' } } });
    expect(stranger).toEqual(await under.request(method, `/v1/dead-letters/${newId()}`));
  }
  expect((await list()).deadLetters).toHaveLength(2);
});

test('a discarded letter is gone, and its run stays', async () => {
  const [failed] = (await list('?reason=run_failed')).deadLetters;
  for (const id of [failed!.id, letterId]) {
    expect(await under.request('DELETE', `/v1/dead-letters/${id}`)).toEqual({ status: 200, body: { id } });
    expect((await under.request('DELETE', `/v1/dead-letters/${id}`)).status).toBe(404);
  }
  expect((await list()).deadLetters).toEqual([]);
  expect((await under.request('GET', `/v1/runs/${runId}`)).status).toBe(200);
});

test('nothing of a payload or an error is in the logs', () => {
  expect(under.logged()).not.toContain(mark);
});
