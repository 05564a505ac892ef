import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { once } from 'node:events';
import { readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { connect } from 'node:net';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { workerPath } from '@ironflow/schema';
import { createLifecycle, createLogger } from '@ironflow/service';
import type { Lifecycle } from '@ironflow/service';
import { freePort } from '@ironflow/testing';
import { createCertificate } from '@ironflow/testing/certificates';
import { startGateway } from './gateway.js';

let lifecycle: Lifecycle;
let replicas: Server[];
let urls: string[];
let gateway: string;
/** What each replica got. */
let seen: string[];
/** Where the gateway said it came from. */
let from: string[];

beforeEach(async () => {
  lifecycle = createLifecycle({ logger: createLogger({ service: 'gateway', level: 'silent' }) });
  seen = [];
  from = [];
  replicas = [];
  urls = [];
  for (const name of ['first', 'second']) {
    const replica = createServer((request, response) => {
      void text(request).then((body) => {
        if (request.url === '/v1/lost') return request.socket.destroy();
        seen.push(`${name} ${request.method} ${request.url} ${body}`);
        from.push(String(request.headers['x-forwarded-for']));
        response.writeHead(202, { 'x-replica': name }).end(`from ${name}`);
      });
    });
    replica.on('upgrade', (request, socket) => {
      socket.write(`HTTP/1.1 101 Switching Protocols\r\nX-Replica: ${name}\r\n\r\n`);
      socket.on('data', (chunk: Buffer) => socket.end(`${name} ${request.url} heard ${chunk.toString()}`));
    });
    replica.listen(0, '127.0.0.1');
    await once(replica, 'listening');
    replicas.push(replica);
    urls.push(`http://127.0.0.1:${(replica.address() as AddressInfo).port}`);
  }
  const { url } = await startGateway({ host: '127.0.0.1', port: 0, lifecycle, replicasOf: () => urls });
  gateway = url;
});

afterEach(async () => {
  await lifecycle.stop();
  for (const replica of replicas) {
    replica.close();
    replica.closeAllConnections();
  }
});

const post = (path: string, body: string | Uint8Array<ArrayBuffer>): Promise<Response> =>
  fetch(gateway + path, { method: 'POST', body });

test('replicas take turns, and get and give what they would without it', async () => {
  const answers = [await post('/v1/events?wait=1s', 'one'), await post('/v1/events', 'two')];
  expect(answers.map(({ status, headers }) => [status, headers.get('x-replica')])).toEqual([
    [202, 'first'],
    [202, 'second'],
  ]);
  expect(await answers[0]!.text()).toBe('from first');
  expect(seen).toEqual(['first POST /v1/events?wait=1s one', 'second POST /v1/events two']);
});

test('replicas are told where a request came from, whatever the client says of it', async () => {
  const headers = { 'x-forwarded-for': '203.0.113.9' };
  await fetch(`${gateway}/v1/events`, { method: 'POST', body: 'one', headers });
  expect(from).toEqual(['127.0.0.1']);
});

test('an idle connection is kept for longer than clients do, who would lose the request that is on its way', async () => {
  const answer = await post('/v1/events', 'one');
  expect(answer.headers.get('keep-alive')).toBe('timeout=72');
});

test('a replica that cannot be reached is passed over; when none can, the platform’s error says so', async () => {
  const closed = `http://127.0.0.1:${await freePort()}`;
  urls = [closed, urls[1]!];
  for (const body of ['one', 'two']) expect((await post('/v1/events', body)).status).toBe(202);
  expect(seen).toEqual(['second POST /v1/events one', 'second POST /v1/events two']);
  urls = [closed];
  const answer = await post('/v1/events', 'three');
  expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '1']);
  expect(await answer.json()).toMatchObject({ error: { code: 'unavailable' } });
});

test('a replica that is lost before its answer may have worked: 502, and no other gets the request', async () => {
  const answer = await post('/v1/lost', 'once');
  expect(answer.status).toBe(502);
  expect(await answer.json()).toMatchObject({ error: { code: 'replica_lost' } });
  expect(seen).toEqual([]);
});

test('a body beyond the limit is refused and reaches nobody', async () => {
  const answer = await post('/v1/events', new Uint8Array(17 * 1024 * 1024 + 1));
  expect(answer.status).toBe(413);
  expect(await answer.json()).toMatchObject({ error: { code: 'body_too_large' } });
  expect(seen).toEqual([]);
});

test('a worker’s socket goes through to a replica that can be reached, in both directions', async () => {
  urls = [`http://127.0.0.1:${await freePort()}`, urls[1]!];
  const { hostname, port } = new URL(gateway);
  const socket = connect(Number(port), hostname);
  const upgrade = ['Host: gateway', 'Connection: Upgrade', 'Upgrade: websocket'].join('\r\n');
  socket.write(`GET ${workerPath} HTTP/1.1\r\n${upgrade}\r\n\r\n`);
  const [answer] = (await once(socket, 'data')) as [Buffer];
  expect(answer.toString()).toContain('X-Replica: second');
  socket.write('hello');
  expect(await text(socket)).toBe(`second ${workerPath} heard hello`);
});

test('replicas with https URLs are spoken to by TLS, and have to show the name that is expected', async () => {
  const certificate = await createCertificate(['ironflow']);
  const key = await readFile(certificate.keyFile);
  await rm(certificate.folder, { recursive: true });
  const replica = createTlsServer({ cert: certificate.cert, key }, (_request, response) =>
    response.end('heard'),
  );
  replica.on('upgrade', (request, socket) => {
    socket.end(`HTTP/1.1 101 Switching Protocols\r\n\r\nheard ${request.url}`);
  });
  replica.listen(0, '127.0.0.1');
  await once(replica, 'listening');
  replicas.push(replica);
  const url = `https://127.0.0.1:${(replica.address() as AddressInfo).port}`;
  const open = async (servername: string): Promise<string> => {
    const tls = { ca: certificate.cert, servername };
    const started = await startGateway({
      host: '127.0.0.1',
      port: 0,
      lifecycle,
      replicasOf: () => [url],
      tls,
    });
    return started.url;
  };
  const expected = await open('ironflow');
  expect(await (await fetch(`${expected}/v1/runs`)).text()).toBe('heard');
  const socket = connect(Number(new URL(expected).port), '127.0.0.1');
  socket.write(`GET ${workerPath} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`);
  expect(await text(socket)).toContain(`heard ${workerPath}`);
  expect((await fetch(`${await open('somebody-else')}/v1/runs`)).status).toBe(502);
});
