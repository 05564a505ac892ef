import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { limits, routes } from '@ironflow/schema';
import { startApiUnderTest } from './testing/api-under-test.js';
import type { ApiUnderTest } from './testing/api-under-test.js';

let under: ApiUnderTest;
beforeAll(async () => {
  under = await startApiUnderTest();
}, 240_000);
afterAll(() => under.stop());

const value = 'sk_live_4f9a-ours-alone';
const set = (name: string, body: unknown, key?: string) =>
  under.request('PUT', `/v1/secrets/${name}`, { body, ...(key === undefined ? {} : { key }) });
const read = (names: unknown, key?: string) =>
  under.request('POST', '/v1/secrets/values', { body: { names }, ...(key === undefined ? {} : { key }) });

test('a secret is set, listed by its name and versions, read by who asks for values, and deleted', async () => {
  expect(await set('STRIPE_KEY', { value: 'first of all' })).toMatchObject({ status: 200 });
  const answer = await set('STRIPE_KEY', { value });
  expect(routes.setSecret.answers[200].schema.parse(answer.body)).toMatchObject({
    name: 'STRIPE_KEY',
    version: 2,
  });
  const shown = await under.request('GET', '/v1/secrets/STRIPE_KEY');
  expect(shown.body).toEqual(answer.body);
  const list = await under.request('GET', '/v1/secrets');
  expect(routes.listSecrets.answers[200].schema.parse(list.body).secrets).toEqual([answer.body]);
  expect(await read(['STRIPE_KEY', 'ABSENT'])).toEqual({
    status: 200,
    body: { secrets: [{ name: 'STRIPE_KEY', version: 2, value }] },
  });
  expect(JSON.stringify([answer, shown, list])).not.toContain(value);
  expect(await under.request('DELETE', '/v1/secrets/STRIPE_KEY')).toEqual({
    status: 200,
    body: { name: 'STRIPE_KEY' },
  });
  expect(await under.request('GET', '/v1/secrets/STRIPE_KEY')).toMatchObject({ status: 404 });
});

test('values are for developers, are not to be cached, and are in no line of the log', async () => {
  await set('LOGGED', { value });
  const viewer = await under.addKey(under.acme.scope, 'viewer');
  expect(await read(['LOGGED'], viewer)).toMatchObject({ status: 403 });
  const answer = await fetch(`${under.url}/v1/secrets/values`, {
    method: 'POST',
    headers: { authorization: `Bearer ${under.acme.apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ names: ['LOGGED'] }),
  });
  expect(answer.headers.get('cache-control')).toBe('no-store');
  expect(await answer.json()).toMatchObject({ secrets: [{ value }] });
  expect(under.logged()).not.toContain(value);
});

test('an admin rotates the data key, and values stay what they are', async () => {
  await set('TURNED', { value });
  const developer = await under.addKey(under.acme.scope, 'developer');
  const rotate = (key?: string) =>
    under.request('POST', '/v1/secrets/rotate-data-key', key === undefined ? {} : { key });
  expect(await rotate(developer)).toMatchObject({ status: 403 });
  expect(await rotate()).toMatchObject({ status: 200, body: { version: 2 } });
  expect(await read(['TURNED'], developer)).toMatchObject({ body: { secrets: [{ value }] } });
});

describe('what is refused', () => {
  test.each([
    ['a name in lower case', 'stripe', { value: 'x' }, 'name'],
    ['a name that begins with a digit', '1A', { value: 'x' }, 'name'],
    ['no value', 'A', {}, 'value'],
    ['an empty value', 'A', { value: '' }, 'value'],
    ['a value that is too large', 'A', { value: 'ü'.repeat(limits.secretValueBytesMax / 2 + 1) }, 'value'],
    ['a number', 'A', { value: 7 }, 'value'],
  ])('%s', async (_what, name, body, field) => {
    const answer = await set(name, body);
    expect(answer).toMatchObject({ status: 400, body: { error: { field } } });
  });

  test('a viewer who sets or deletes', async () => {
    const viewer = await under.addKey(under.acme.scope, 'viewer');
    expect(await set('A', { value: 'x' }, viewer)).toMatchObject({ status: 403 });
    expect(await under.request('DELETE', '/v1/secrets/A', { key: viewer })).toMatchObject({ status: 403 });
  });
});

test('a neighbour’s secret is as unknown as any', async () => {
  await set('PRIVATE', { value }, under.globex.apiKey);
  for (const method of ['GET', 'DELETE']) {
    const theirs = await under.request(method, '/v1/secrets/PRIVATE');
    expect(theirs).toMatchObject({ status: 404, body: { error: { code: 'secret_not_found' } } });
    expect(theirs).toEqual(await under.request(method, '/v1/secrets/ABSENT'));
  }
  expect(await read(['PRIVATE'])).toEqual({ status: 200, body: { secrets: [] } });
  expect(await read(['PRIVATE'], under.globex.apiKey)).toMatchObject({ body: { secrets: [{ value }] } });
});
