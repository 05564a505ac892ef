import { createServer, request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from '@jest/globals';
import { IronflowError } from '@ironflow/errors';
import { idLengthMax } from '@ironflow/schema';
import { z } from 'zod';
import { createHealth } from './health.js';
import { createHttpServer } from './http.js';
import type { HttpServer, HttpServerOptions } from './http.js';
import { createLogger } from './logger.js';
import { createMetrics } from './metrics.js';

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function create(changes: Partial<HttpServerOptions> = {}) {
  const lines: string[] = [];
  const logger = createLogger({ service: 'test', destination: { write: (line) => void lines.push(line) } });
  const metrics = createMetrics({ service: 'test' });
  const health = createHealth({ checks: { postgres: async () => {} } });
  const server = createHttpServer({ logger, metrics, health, drainTimeoutMs: 2_000, ...changes });
  cleanups.push(
    () => metrics.stop(),
    () => server.stop(),
  );
  server.app.post(
    '/echo/:id',
    { schema: { body: bodySchema, params: z.object({ id: z.string() }) } },
    (request) => ({
      id: request.params.id,
      name: request.body.name,
    }),
  );
  server.app.get('/broken', () => {
    throw new Error('password=hunter2');
  });
  server.app.get('/busy', () => {
    throw new IronflowError('unavailable', 'overloaded', 'too busy', { retryAfterSeconds: 1.5 });
  });
  server.app.get('/secret', () => {
    throw new IronflowError('unauthenticated', 'api_key_missing', 'an API key is needed');
  });
  return { server, metrics, lines };
}

const triggerSchema = z.union([
  z.strictObject({ event: z.string().max(10, 'has at most 10 characters') }),
  z.strictObject({ cron: z.string() }),
]);
const bodySchema = z.object({
  name: z.string().max(5, 'has at most 5 characters'),
  triggers: z.array(triggerSchema).optional(),
  strict: z.strictObject({}).optional(),
});

async function listen(server: HttpServer): Promise<string> {
  return (await server.listen({ host: '127.0.0.1', port: 0 })).url;
}

async function post(url: string, body: string, headers: Record<string, string> = {}) {
  const response = await fetch(url, {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/json', ...headers },
  });
  return { status: response.status, body: await response.json(), headers: response.headers };
}

const errorOf = (code: string, field?: string) => ({
  error: expect.objectContaining(field === undefined ? { code } : { code, field }) as unknown,
});

test('where a request came from is said by the proxies that are trusted, and by nobody else', async () => {
  for (const [trustedProxies, expected] of [
    [[], '127.0.0.1'],
    [['10.0.0.0/8'], '127.0.0.1'],
    [['127.0.0.1'], '198.51.100.7'],
    [['127.0.0.0/8', '198.51.100.0/24'], '203.0.113.9'],
  ] as const) {
    const { server } = create({ trustedProxies });
    server.app.get('/where', (request) => ({ ip: request.ip }));
    const headers = { 'x-forwarded-for': '203.0.113.9, 198.51.100.7' };
    const answer = await fetch(`${await listen(server)}/where`, { headers });
    expect([trustedProxies, await answer.json()]).toEqual([trustedProxies, { ip: expected }]);
  }
});

test('a valid request is answered, with a request id of ours or a harmless one of the caller', async () => {
  const url = await listen(create().server);
  const answer = await post(`${url}/echo/7`, '{"name":"ann"}', { 'x-request-id': 'abc-1' });
  expect(answer).toMatchObject({ status: 200, body: { id: '7', name: 'ann' } });
  expect(answer.headers.get('x-request-id')).toBe('abc-1');
  const other = await post(`${url}/echo/7`, '{"name":"ann"}', { 'x-request-id': '"><script>' });
  expect(other.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
});

test.each([
  ['{"name":"hunter2hunter2"}', 'name', 'has at most 5 characters'],
  ['{"name":7}', 'name', 'Invalid input: expected string, received number'],
  ['{}', 'name', 'Invalid input: expected string, received undefined'],
  ['[]', undefined, 'Invalid input: expected object, received array'],
  [
    '{"name":"a","triggers":[{"cron":"x"},{"event":"hunter2hunter2"}]}',
    'triggers[1].event',
    'has at most 10 characters',
  ],
  ['{"name":"a","strict":{"extra":"hunter2"}}', 'strict.extra', 'is not a known field'],
])('%s is refused by field and rule, without its value', async (body, field, message) => {
  const url = await listen(create().server);
  const answer = await post(`${url}/echo/7`, body);
  expect(answer).toMatchObject({ status: 400, body: { error: { code: 'invalid_request', message } } });
  expect((answer.body as { error: { field?: string } }).error.field).toBe(field);
  expect(JSON.stringify(answer.body)).not.toContain('hunter2');
});

test('the longest id that there can be is served', async () => {
  const url = await listen(create().server);
  const id = 'x'.repeat(idLengthMax);
  expect(await post(`${url}/echo/${id}`, '{"name":"a"}')).toMatchObject({ status: 200, body: { id } });
});

test('an absurdly long field name is shortened', async () => {
  const url = await listen(create().server);
  const answer = await post(`${url}/echo/7`, `{"name":"a","strict":{"${'x'.repeat(100_000)}":1}}`);
  expect(JSON.stringify(answer.body).length).toBeLessThan(500);
});

test('bodies that cannot be read have errors of their own', async () => {
  const url = await listen(create({ bodyLimitBytes: 1_000 }).server);
  expect(await post(`${url}/echo/7`, '{"name":hunter2')).toMatchObject({
    status: 400,
    body: errorOf('malformed_json'),
  });
  expect(await post(`${url}/echo/7`, '')).toMatchObject({ status: 400, body: errorOf('malformed_json') });
  expect(await post(`${url}/echo/7`, '{"__proto__":{"a":1}}')).toMatchObject({
    body: errorOf('malformed_json'),
  });
  expect(await post(`${url}/echo/7`, 'name', { 'content-type': 'text/plain' })).toMatchObject({
    status: 415,
    body: errorOf('unsupported_media_type'),
  });
  expect(await post(`${url}/echo/7`, JSON.stringify({ name: 'x'.repeat(2_000) }))).toMatchObject({
    status: 413,
    body: { error: { code: 'body_too_large', message: 'the body is larger than the limit of 1000 bytes' } },
  });
});

test('unknown routes, bad URLs, refusals and failures keep to one form', async () => {
  const { server, lines } = create();
  const url = await listen(server);
  expect(await post(`${url}/nowhere`, 'not json')).toMatchObject({
    status: 404,
    body: errorOf('route_not_found'),
  });
  expect(await post(`${url}/echo/%zz`, '{}')).toMatchObject({ status: 400, body: errorOf('malformed_url') });
  const busy = await fetch(`${url}/busy`);
  expect([busy.status, busy.headers.get('retry-after')]).toEqual([503, '2']);
  const unauthenticated = await fetch(`${url}/secret`);
  expect([unauthenticated.status, unauthenticated.headers.get('www-authenticate')]).toEqual([401, 'Bearer']);
  const broken = await fetch(`${url}/broken`);
  expect(broken.status).toBe(500);
  expect(await broken.text()).not.toContain('hunter2');
  const logged = lines.filter((line) => line.includes('a request failed'));
  expect(logged).toHaveLength(1);
  expect(logged[0]).toContain(broken.headers.get('x-request-id')!);
});

test('bytes that are not HTTP are answered in the same form', async () => {
  const { port } = await create().server.listen({ host: '127.0.0.1', port: 0 });
  const socket = connect(port, '127.0.0.1');
  socket.write('hello there\r\n\r\n');
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString();
  expect(text).toMatch(/^HTTP\/1\.1 400 /);
  expect(text).toContain('"code":"malformed_request"');
});

test('no body is ever logged', async () => {
  const { server, lines } = create();
  const url = await listen(server);
  await post(`${url}/echo/7`, '{"name":"mypwd"}');
  await post(`${url}/echo/7`, '{"name":"mypwdmypwd"}');
  await post(`${url}/echo/7`, 'mypwd');
  expect(lines.join('')).not.toContain('mypwd');
});

test('health, readiness and metrics are served', async () => {
  let isUp = true;
  const health = createHealth({
    cacheMs: 0,
    checks: { nats: async () => (isUp ? undefined : Promise.reject(new Error('down'))) },
  });
  const url = await listen(create({ health }).server);
  expect((await fetch(`${url}/healthz`)).status).toBe(200);
  expect((await fetch(`${url}/readyz`)).status).toBe(200);
  isUp = false;
  const unready = await fetch(`${url}/readyz`);
  expect([unready.status, await unready.json()]).toEqual([503, { ready: false, checks: { nats: 'failed' } }]);
  const metrics = await (await fetch(`${url}/metrics`)).text();
  expect(metrics).toMatch(
    /ironflow_http_request_duration_seconds_count\{method="GET",route="\/healthz",status="200",/,
  );
});

test('several servers live behind one, unknown routes falling through with their bodies unread', async () => {
  const [first, second] = [create(), create()];
  second.server.app.post('/second', { schema: { body: bodySchema } }, (request) => ({
    second: request.body.name,
  }));
  await Promise.all([first.server.ready(), second.server.ready()]);
  const front = createServer((request, response) =>
    first.server.handle(request, response, () => second.server.handle(request, response)),
  );
  await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => new Promise((resolve) => front.close(resolve).closeAllConnections()));
  const url = `http://127.0.0.1:${(front.address() as AddressInfo).port}`;
  expect((await post(`${url}/echo/1`, '{"name":"ann"}')).body).toEqual({ id: '1', name: 'ann' });
  expect((await post(`${url}/second`, '{"name":"bob"}')).body).toEqual({ second: 'bob' });
  expect((await post(`${url}/third`, '{"name":"bob"}')).status).toBe(404);
  expect(await first.metrics.render()).not.toContain('route="unknown"');
  await Promise.all([first.server.stop(), first.server.stop()]);
});

test('an upgrade goes to its handler by path; others are refused', async () => {
  const { server } = create();
  server.onUpgrade('/v1/connect', (_request, socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n');
    socket.pipe(socket);
  });
  const { port } = await server.listen({ host: '127.0.0.1', port: 0 });
  const upgrade = (path: string) =>
    new Promise<string>((resolve, reject) => {
      const request = httpRequest({ port, path, headers: { connection: 'Upgrade', upgrade: 'test' } });
      request.on('upgrade', (_response, socket) => {
        socket.once('data', (data: Buffer) => resolve(data.toString()));
        socket.on('close', () => {});
        socket.on('error', () => {});
        socket.write('ping');
      });
      request.on('response', (response) => resolve(String(response.resume().statusCode)));
      request.on('error', reject);
      request.end();
    });
  expect(await upgrade('/v1/connect?app=1')).toBe('ping');
  expect(await upgrade('/elsewhere')).toBe('404');
});

test('stop lets a running request end, takes no new connection, and cuts what does not end', async () => {
  let cut = () => {};
  const clock = {
    now: () => 0,
    setTimeout: (callback: () => void) => ((cut = callback), { cancel: () => {} }),
  };
  const { server } = create({ clock });
  let arrived = () => {};
  let release = () => {};
  const inHandler = new Promise<void>((resolve) => (arrived = resolve));
  server.app.get('/slow', async () => {
    arrived();
    await new Promise<void>((resolve) => (release = resolve));
    return { done: true };
  });
  const { url } = await server.listen({ host: '127.0.0.1', port: 0 });
  const running = fetch(`${url}/slow`);
  await inHandler;
  const stopped = server.stop();
  await expect(fetch(`${url}/healthz`)).rejects.toThrow();
  release();
  expect(await (await running).json()).toEqual({ done: true });
  await stopped;

  const { server: stuck } = create({ clock });
  const hanging = new Promise<void>((resolve) => (arrived = resolve));
  stuck.app.get('/hang', () => {
    arrived();
    return new Promise(() => {});
  });
  const stuckUrl = (await stuck.listen({ host: '127.0.0.1', port: 0 })).url;
  const cutOff = fetch(`${stuckUrl}/hang`).then(
    () => 'answered',
    () => 'cut off',
  );
  await hanging;
  const stuckStopped = stuck.stop();
  cut();
  await stuckStopped;
  expect(await cutOff).toBe('cut off');
});
