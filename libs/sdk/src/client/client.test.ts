import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import { IronflowApiError } from './api-error.js';
import { createClient } from './client.js';
import { readEventStream } from './event-stream.js';

const runId = '0192f0c0-0000-7000-8000-000000000001';
const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

interface Seen {
  method: string | undefined;
  url: string | undefined;
  key: string | undefined;
  body: unknown;
}

/** A platform that answers as it is told, in order; the last answer repeats. */
async function platform(...answers: ((request: IncomingMessage, response: ServerResponse) => void)[]) {
  const seen: Seen[] = [];
  const server = createServer((request, response) => {
    let text = '';
    request.on('data', (chunk: Buffer) => (text += chunk.toString()));
    request.on('end', () => {
      const { method, url, headers } = request;
      seen.push({
        method,
        url,
        key: headers.authorization,
        body: text === '' ? undefined : JSON.parse(text),
      });
      answers[Math.min(seen.length, answers.length) - 1]!(request, response);
    });
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const ironflowUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { seen, client: createClient({ ironflowUrl, apiKey: 'ifk_test' }) };
}

const answer =
  (status: number, body: unknown, headers: Record<string, string> = {}) =>
  (_: IncomingMessage, response: ServerResponse) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
  };
const refusal = (code: string, message: string, field?: string) => ({ error: { code, message, field } });

describe('the client', () => {
  test('asks for breakers, and changes them at the endpoint that is meant', async () => {
    const { seen, client } = await platform(answer(200, {}));
    await client.breakers.list({ state: 'open' });
    await client.breakers.get('charge', { endpoint: 'worker' });
    await client.breakers.open('charge', { for: '10m' });
    await client.breakers.reset('charge');
    expect(seen.map(({ method, url, body }) => [method, url, body])).toEqual([
      ['GET', '/v1/breakers?state=open', undefined],
      ['GET', '/v1/breakers/charge?endpoint=worker', undefined],
      ['POST', '/v1/breakers/charge/open', { forMs: 600_000 }],
      ['POST', '/v1/breakers/charge/reset', {}],
    ]);
  });

  test('emits with a key, so that a busy platform can be asked again with the same one', async () => {
    const busy = answer(503, refusal('overloaded', 'too busy'), { 'retry-after': '0' });
    const { seen, client } = await platform(busy, answer(202, { ids: [runId] }));
    expect(await client.emit({ name: 'order.placed', data: { n: 1 } })).toEqual({ ids: [runId] });
    expect(seen).toHaveLength(2);
    expect(seen[0]).toMatchObject({ method: 'POST', url: '/v1/events', key: 'Bearer ifk_test' });
    const [first, second] = seen.map(({ body }) => (body as { idempotencyKey: string }).idempotencyKey);
    expect(first).toMatch(/^[0-9a-f-]{36}$/);
    expect(second).toBe(first);
  });

  test('keeps keys that are given, gives every event of a list its own, and passes the wait on', async () => {
    const { seen, client } = await platform(answer(200, { ids: [runId, runId] }));
    await client.emit([{ name: 'a', idempotencyKey: 'mine' }, { name: 'b' }], { wait: '30s' });
    expect(seen[0]?.url).toBe('/v1/events?wait=30000ms');
    expect(seen[0]?.body).toEqual([
      { name: 'a', idempotencyKey: 'mine' },
      { name: 'b', idempotencyKey: expect.any(String) },
    ]);
  });

  test('pauses, resumes and looks into queues', async () => {
    const { seen, client } = await platform(answer(200, {}));
    await client.functions.get('a b');
    await client.functions.pause('f');
    await client.functions.resume('f');
    await client.functions.queue('f');
    await client.queues.list();
    await client.environment.get();
    await client.environment.pause();
    await client.environment.resume();
    expect(seen.map(({ method, url }) => `${method} ${url}`)).toEqual([
      'GET /v1/functions/a%20b',
      'POST /v1/functions/f/pause',
      'POST /v1/functions/f/resume',
      'GET /v1/functions/f/queue',
      'GET /v1/queues',
      'GET /v1/environment',
      'POST /v1/environment/pause',
      'POST /v1/environment/resume',
    ]);
  });

  test('shows and sets for how long things are kept', async () => {
    const { seen, client } = await platform(answer(200, { days: 30 }));
    expect(await client.retention.get()).toEqual({ days: 30 });
    await client.retention.set(30);
    await client.retention.set(null);
    expect(seen.map(({ method, url, body }) => [method, url, body])).toEqual([
      ['GET', '/v1/retention', undefined],
      ['PUT', '/v1/retention', { days: 30 }],
      ['PUT', '/v1/retention', { days: null }],
    ]);
  });

  test('starts a function by its id', async () => {
    const { seen, client } = await platform(answer(202, { ids: [runId] }));
    await client.invoke('add', { a: 1 });
    expect(seen[0]).toMatchObject({ url: '/v1/invocations', body: { function: 'add', data: { a: 1 } } });
  });

  test('repeats a run with a key of its own, so that asking again is safe', async () => {
    const busy = answer(503, refusal('overloaded', 'too busy'), { 'retry-after': '0' });
    const { seen, client } = await platform(busy, answer(202, { eventId: runId, runId }));
    expect(await client.runs.rerun(runId, { data: null, fromStep: 'a' })).toEqual({ eventId: runId, runId });
    expect(seen.map(({ method, url }) => `${method} ${url}`)).toEqual([
      ...[`POST /v1/runs/${runId}/rerun`, `POST /v1/runs/${runId}/rerun`],
    ]);
    expect(seen[0]!.body).toEqual({ data: null, fromStep: 'a', idempotencyKey: expect.any(String) });
    expect(seen[1]!.body).toEqual(seen[0]!.body);
    await expect(client.runs.rerun(runId, { data: 1n })).rejects.toMatchObject({
      name: 'ConfigurationError',
    });
  });

  test('works through all that a filter finds, page by page under one key, and waits for the rate', async () => {
    const tooSoon = answer(429, refusal('bulk_rate_exceeded', 'slower'), { 'retry-after': '0' });
    const { seen, client } = await platform(
      answer(202, { count: 2, skipped: 1, nextCursor: runId }),
      // More than a request is tried: another environment's job may have the rate for a while.
      ...Array<typeof tooSoon>(7).fill(tooSoon),
      answer(202, { count: 1, skipped: 0 }),
    );
    const filter = { status: 'failed', function: 'f' } as const;
    expect(await client.runs.rerunAll(filter)).toEqual({ count: 3, skipped: 1 });
    expect(seen.map(({ url }) => url)).toEqual(Array(9).fill('/v1/runs/rerun'));
    const [first, ...others] = seen.map(({ body }) => body as Record<string, unknown>);
    const to = expect.any(String);
    expect(first).toEqual({ ...filter, to, dryRun: false, idempotencyKey: expect.any(String) });
    expect(others).toEqual(Array(8).fill({ ...first, cursor: runId }));
  });

  test('counts events before it replays them', async () => {
    const { seen, client } = await platform(answer(200, { count: 7 }));
    const counted = await client.functions.replay(
      'f',
      { event: 'a.b' },
      { dryRun: true, idempotencyKey: 'k' },
    );
    expect(counted).toEqual({ count: 7, skipped: 0 });
    expect(seen).toMatchObject([
      {
        url: '/v1/functions/f/replay',
        body: { event: 'a.b', to: expect.any(String), dryRun: true, idempotencyKey: 'k' },
      },
    ]);
  });

  test('replays all dead letters that a filter finds, without a key: each is replayed once', async () => {
    const { seen, client } = await platform(
      answer(202, { count: 2, skipped: 0, nextCursor: runId }),
      answer(202, { count: 0, skipped: 3 }),
    );
    const filter = { reason: 'run_failed', function: 'f' } as const;
    expect(await client.deadLetters.replayAll(filter)).toEqual({ count: 2, skipped: 3 });
    const body = { ...filter, to: expect.any(String), dryRun: false };
    const request = { method: 'POST', url: '/v1/dead-letters/replay' };
    expect(seen).toMatchObject([request, request]);
    expect(seen.map((one) => one.body)).toEqual([body, { ...body, cursor: runId }]);
  });

  test('reads, replays and discards dead letters', async () => {
    const { seen, client } = await platform(answer(200, { deadLetters: [] }));
    await client.deadLetters.list({ reason: 'run_failed' });
    await client.deadLetters.get(runId);
    await client.deadLetters.replay(runId);
    await client.deadLetters.discard(runId);
    expect(seen.map(({ method, url }) => `${method} ${url}`)).toEqual([
      'GET /v1/dead-letters?reason=run_failed',
      `GET /v1/dead-letters/${runId}`,
      `POST /v1/dead-letters/${runId}/replay`,
      `DELETE /v1/dead-letters/${runId}`,
    ]);
  });

  test('refuses data that is no JSON, and a trace context that is none, before it asks anybody', async () => {
    const { seen, client } = await platform(answer(202, { ids: [runId] }));
    await expect(client.invoke('add', { n: 1n })).rejects.toMatchObject({
      name: 'ConfigurationError',
      field: 'data',
      message: expect.stringContaining('BigInt'),
    });
    const self: { self?: unknown } = {};
    self.self = self;
    await expect(client.emit([{ name: 'a', data: self }])).rejects.toMatchObject({ field: 'data' });
    await expect(client.emit({ name: 'a' }, { traceparent: 'a\nb' })).rejects.toMatchObject({
      name: 'ConfigurationError',
      field: 'traceparent',
    });
    expect(seen).toEqual([]);
  });

  test('reads runs, events and functions', async () => {
    const { seen, client } = await platform(answer(200, { functions: [] }));
    await client.runs.list({ status: 'failed', limit: 5 });
    await client.runs.get(runId);
    await client.events.list({ name: 'a.b' });
    expect(await client.functions.list()).toEqual([]);
    expect(seen.map(({ url }) => url)).toEqual([
      '/v1/runs?status=failed&limit=5',
      `/v1/runs/${runId}`,
      '/v1/events?name=a.b',
      '/v1/functions',
    ]);
  });

  test('says which rule was broken, and does not ask again', async () => {
    const { seen, client } = await platform(
      answer(400, refusal('event_name_invalid', 'too many tokens', 'name')),
    );
    const error = await client.emit({ name: 'x' }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(IronflowApiError);
    expect(error).toMatchObject({
      status: 400,
      code: 'event_name_invalid',
      field: 'name',
      message: 'too many tokens',
    });
    expect(seen).toHaveLength(1);
  });

  test('leaves a pause that is too long to the caller', async () => {
    const { seen, client } = await platform(
      answer(503, refusal('paused', 'later'), { 'retry-after': '600' }),
    );
    const error = await client.runs.get(runId).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ status: 503, retryAfterMs: 600_000 });
    expect(seen).toHaveLength(1);
  });

  test('has one error for a platform that cannot be reached', async () => {
    const client = createClient({ ironflowUrl: 'http://127.0.0.1:1', apiKey: 'ifk_test' });
    await expect(client.runs.get(runId)).rejects.toMatchObject({ status: 0, code: 'unreachable' });
  });

  test('watches a run to its end, over a connection that breaks', async () => {
    const update = (status: string) =>
      `event: run\ndata: ${JSON.stringify({ id: runId, status, steps: [] })}\n\n`;
    const { seen, client } = await platform(
      (_, response) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        response.write(`: hello\n\n${update('queued')}`);
        response.end('event: run\ndata: {"half');
      },
      (_, response) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        response.write(update('running') + update('completed') + update('never seen'));
      },
    );
    const statuses: string[] = [];
    for await (const { status } of client.watch(runId)) statuses.push(status);
    expect(statuses).toEqual(['queued', 'running', 'completed']);
    expect(seen[0]?.url).toBe(`/v1/runs/${runId}/watch`);
  });

  test('pauses between connections that all begin with the same state, and says it once', async () => {
    const update = (status: string) =>
      `event: run\ndata: ${JSON.stringify({ id: runId, status, steps: [] })}\n\n`;
    const say = (status: string) => (_: IncomingMessage, response: ServerResponse) =>
      void response.writeHead(200, { 'content-type': 'text/event-stream' }).end(update(status));
    const { client } = await platform(say('running'), say('running'), say('running'), say('completed'));
    const beganAtMs = performance.now();
    const statuses: string[] = [];
    for await (const { status } of client.watch(runId)) statuses.push(status);
    expect(statuses).toEqual(['running', 'completed']);
    // Two connections in a row that brought nothing new: at least half of 100 ms and of 200 ms.
    expect(performance.now() - beganAtMs).toBeGreaterThan(149);
  });

  test('does not watch a run that is not there', async () => {
    const { client } = await platform(answer(404, refusal('run_not_found', 'no such run')));
    await expect(client.watch(runId).next()).rejects.toMatchObject({ code: 'run_not_found' });
  });

  test('makes sources of webhooks, whose addresses are below the platform’s, and replaces secrets', async () => {
    const source = { id: 'hub', path: '/v1/hooks/ifw_1' };
    const { seen, client } = await platform(
      answer(201, { ...source, secret: 's' }),
      answer(200, { webhooks: [source] }),
      answer(200, source),
    );
    const created = await client.webhooks.create({ id: 'hub', provider: 'github' });
    expect(created).toEqual({
      ...source,
      secret: 's',
      url: expect.stringMatching(/^http:.+\d\/v1\/hooks\/ifw_1$/),
    });
    expect(await client.webhooks.list()).toEqual([{ ...source, url: created.url }]);
    await client.webhooks.rotate('hub', { secret: 'another secret', grace: '1h' });
    await client.webhooks.rotate('hub');
    await client.webhooks.pause('hub');
    await client.webhooks.deliveries('a b', { status: 'refused' });
    expect(seen.map(({ method, url, body }) => [method, url, body])).toEqual([
      ['POST', '/v1/webhooks', { id: 'hub', provider: 'github' }],
      ['GET', '/v1/webhooks', undefined],
      ['POST', '/v1/webhooks/hub/rotate', { secret: 'another secret', graceSeconds: 3_600 }],
      ['POST', '/v1/webhooks/hub/rotate', {}],
      ['POST', '/v1/webhooks/hub/pause', undefined],
      ['GET', '/v1/webhooks/a%20b/deliveries?status=refused', undefined],
    ]);
  });

  test('makes credentials for NATS, lists and revokes them', async () => {
    const { seen, client } = await platform(
      answer(201, { id: 'c', credentials: 'text' }),
      answer(200, { credentials: [{ id: 'c' }] }),
      answer(200, { id: 'c', status: 'revoked' }),
    );
    const created = await client.credentials.create({ name: 'warehouse', expiresIn: '1h' });
    expect(created).toMatchObject({ credentials: 'text' });
    expect(await client.credentials.list()).toEqual([{ id: 'c' }]);
    expect(await client.credentials.revoke('c')).toMatchObject({ status: 'revoked' });
    expect(seen.map(({ method, url, body }) => [method, url, body])).toEqual([
      ['POST', '/v1/credentials', { name: 'warehouse', expiresInSeconds: 3_600 }],
      ['GET', '/v1/credentials', undefined],
      ['DELETE', '/v1/credentials/c', undefined],
    ]);
  });

  test('needs a key and a URL that is one', () => {
    expect(() => createClient({ apiKey: '' })).toThrow(/IRONFLOW_API_KEY/);
    expect(() => createClient({ ironflowUrl: 'localhost:7400', apiKey: 'k' })).toThrow(/ironflowUrl/);
  });
});

test('an event stream is read however its bytes are cut', async () => {
  const text = ': hi\r\nevent: run\r\ndata: {"ä":\r\ndata: 1}\r\n\r\ndata:x\n\n';
  const bytes = new TextEncoder().encode(text);
  for (let size = 1; size <= bytes.length; size += 1) {
    async function* cut() {
      for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
    }
    const events = [];
    for await (const event of readEventStream(cut())) events.push(event);
    expect(events).toEqual([
      { name: '', data: '' },
      { name: 'run', data: '{"ä":\n1}' },
      { name: 'message', data: 'x' },
    ]);
  }
});
