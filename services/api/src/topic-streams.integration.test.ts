import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { connect } from 'node:net';
import { eventually } from '@ironflow/testing';
import { startApiUnderTest } from './testing/api-under-test.js';
import type { ApiUnderTest } from './testing/api-under-test.js';

let under: ApiUnderTest;
beforeAll(async () => {
  under = await startApiUnderTest();
}, 60_000);
afterAll(() => under.stop());

async function subscriptionsOpen(): Promise<string | undefined> {
  const metrics = await (await fetch(`${under.url}/metrics`)).text();
  return /ironflow_api_topic_streams\{?[^}\n]*\}? (\d+)/.exec(metrics)?.[1];
}

test('a subscriber that leaves before anything was sent is forgotten', async () => {
  const authorization = `Bearer ${under.acme.apiKey}`;
  const leave = () =>
    new Promise((resolve) => {
      const socket = connect({ host: '127.0.0.1', port: Number(new URL(under.url).port) });
      const head = `GET /v1/topics/orders/messages HTTP/1.1\r\nHost: a\r\nAuthorization: ${authorization}\r\n\r\n`;
      socket.once('close', resolve).write(head, () => socket.destroy());
    });
  await Promise.all(Array.from({ length: 50 }, leave));
  // Whoever is served after them proves that the server has heard of them.
  const staying = new AbortController();
  const answer = await fetch(`${under.url}/v1/topics/orders/messages`, {
    headers: { authorization },
    signal: staying.signal,
  });
  expect(answer.status).toBe(200);
  await eventually(async () => expect(await subscriptionsOpen()).toBe('1'));
  staying.abort();
  await eventually(async () => expect(await subscriptionsOpen()).toBe('0'));
}, 30_000);
