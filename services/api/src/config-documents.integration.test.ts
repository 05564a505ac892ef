import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { limits, routes } from '@ironflow/schema';
import type { ConfigUpdate } from '@ironflow/schema';
import { eventually } from '@ironflow/testing';
import { startApiUnderTest } from './testing/api-under-test.js';
import type { ApiUnderTest } from './testing/api-under-test.js';

let under: ApiUnderTest;
beforeAll(async () => {
  under = await startApiUnderTest();
}, 240_000);
afterAll(() => under.stop());

const put = (name: string, body: unknown, key?: string) =>
  under.request('PUT', `/v1/config/${name}`, { body, ...(key === undefined ? {} : { key }) });

async function watch(name: string, key = under.acme.apiKey) {
  const leave = new AbortController();
  const answer = await fetch(`${under.url}/v1/config/${name}/watch`, {
    headers: { authorization: `Bearer ${key}` },
    signal: leave.signal,
  });
  let text = '';
  void (async () => {
    for await (const chunk of answer.body!) text += Buffer.from(chunk as Uint8Array).toString();
  })().catch(() => undefined);
  const updates = (): ConfigUpdate[] =>
    [...text.matchAll(/event: config\ndata: (.*)\n\n/g)].map(([, data]) =>
      routes.watchConfig.stream.schema.parse(JSON.parse(data!)),
    );
  return { status: answer.status, updates, leave: () => leave.abort() };
}

test('a document is set, read, listed without its data, and deleted', async () => {
  const answer = await put('prices.eu', { data: { eur: [7, null], ü: 'x' } });
  expect(routes.putConfig.answers[200].schema.parse(answer.body)).toMatchObject({ revision: 1 });
  expect(await under.request('GET', '/v1/config/prices.eu')).toEqual(answer);
  const list = await under.request('GET', '/v1/config');
  const { data: _, ...summary } = answer.body as Record<string, unknown>;
  expect(routes.listConfig.answers[200].schema.parse(list.body)).toEqual({ documents: [summary] });
  expect(await under.request('DELETE', '/v1/config/prices.eu')).toMatchObject({ status: 200 });
  expect(await under.request('GET', '/v1/config/prices.eu')).toMatchObject({ status: 404 });
  expect(await under.request('DELETE', '/v1/config/prices.eu')).toMatchObject({ status: 404 });
  // Its revisions go on, so that whoever watches sees that it is another.
  expect(await put('prices.eu', { data: null })).toMatchObject({ body: { revision: 3, data: null } });
});

test('with a revision it is changed only if that is the one it has, and by one of many at once', async () => {
  const mismatch = { status: 409, body: { error: { code: 'revision_mismatch', field: 'revision' } } };
  expect(await put('compared', { data: 1, revision: 1 })).toMatchObject(mismatch);
  expect(await put('compared', { data: 1, revision: 0 })).toMatchObject({ status: 200 });
  expect(await put('compared', { data: 1, revision: 0 })).toMatchObject(mismatch);
  const answers = await Promise.all(
    Array.from({ length: 6 }, (_unused, index) => put('compared', { data: index, revision: 1 })),
  );
  expect(answers.map(({ status }) => status).sort()).toEqual([200, 409, 409, 409, 409, 409]);
  expect(await under.request('DELETE', '/v1/config/compared?revision=1')).toMatchObject(mismatch);
  expect(await under.request('DELETE', '/v1/config/compared?revision=2')).toMatchObject({ status: 200 });
  expect(await put('compared', { data: 1, revision: 0 })).toMatchObject({ status: 200 });
});

test('a watcher sees it as it is, then each change, deleted and made again', async () => {
  await put('watched', { data: 'first' });
  const watcher = await watch('watched');
  await eventually(() => expect(watcher.updates()).toHaveLength(1));
  const told = async (count: number) => eventually(() => expect(watcher.updates()).toHaveLength(count));
  await put('other', { data: 'not this one' });
  await put('watched', { data: 'second' });
  await told(2);
  await under.request('DELETE', '/v1/config/watched');
  await told(3);
  await put('watched', { data: 'third' });
  await told(4);
  expect(watcher.updates()).toMatchObject([
    { revision: 1, data: 'first' },
    { revision: 2, data: 'second' },
    { revision: 3, deleted: true },
    { revision: 4, data: 'third' },
  ]);
  watcher.leave();
});

describe('what is refused', () => {
  test.each([
    ['a name that begins with a dot', '.hidden', { data: 1 }, 'name'],
    ['no data', 'a', {}, 'data'],
    ['a revision that is none', 'a', { data: 1, revision: -1 }, 'revision'],
    ['what is unknown', 'a', { data: 1, ttl: 1 }, 'ttl'],
  ])('%s', async (_what, name, body, field) => {
    expect(await put(name, body)).toMatchObject({ status: 400, body: { error: { field } } });
  });

  test('data that is too large', async () => {
    const answer = await put('large', { data: 'x'.repeat(limits.configDataBytesMax) });
    expect(answer).toMatchObject({ status: 413, body: { error: { code: 'config_data_too_large' } } });
  });

  test('one document too many, and there is room again when one was deleted', async () => {
    const key = under.globex.apiKey;
    await under.platform.prisma.configDocument.createMany({
      data: Array.from({ length: limits.configDocumentsMax }, (_unused, index) => ({
        environmentId: under.globex.scope.environmentId,
        ...{ name: `fill-${index}`, revision: 1, data: 1 },
      })),
    });
    const full = { status: 409, body: { error: { code: 'too_many_config_documents' } } };
    expect(await put('one-more', { data: 1 }, key)).toMatchObject(full);
    expect(await put('fill-0', { data: 2 }, key)).toMatchObject({ status: 200 });
    await under.request('DELETE', '/v1/config/fill-0', { key });
    expect(await put('one-more', { data: 1 }, key)).toMatchObject({ status: 200 });
  });
});

test('a neighbour’s document is as unknown as any, and its changes are told to nobody else', async () => {
  const key = under.globex.apiKey;
  await under.platform.prisma.configDocument.deleteMany({
    where: { environmentId: under.globex.scope.environmentId },
  });
  await put('private', { data: 'theirs' }, key);
  for (const [method, rest] of [
    ['GET', ''],
    ['GET', '/watch'],
    ['DELETE', ''],
  ] as const) {
    const theirs = await under.request(method, `/v1/config/private${rest}`);
    expect(theirs).toMatchObject({ status: 404, body: { error: { code: 'config_not_found' } } });
    expect(theirs).toEqual(await under.request(method, `/v1/config/absent${rest}`));
  }
  await put('shared-name', { data: 'ours' });
  const watcher = await watch('shared-name');
  await put('shared-name', { data: 'theirs' }, key);
  await put('shared-name', { data: 'ours again' });
  await eventually(() => expect(watcher.updates()).toHaveLength(2));
  expect(watcher.updates().map(({ data }) => data)).toEqual(['ours', 'ours again']);
  watcher.leave();
});
