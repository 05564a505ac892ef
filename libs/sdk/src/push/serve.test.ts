import { once } from 'node:events';
import { createServer, request } from 'node:http';
import type { IncomingMessage, Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, describe, expect, test } from '@jest/globals';
import { answerIdOf, pushAnswerSchema, sign, verifySignature } from '@ironflow/schema';
import type { Invocation, MemoizedStep } from '@ironflow/schema';
import { createFunction } from '../function.js';
import { NonRetryableError } from '../function-errors.js';
import { keepSecret } from '../redaction.js';
import { callBytesMax } from './reply.js';
import { serve } from './serve.js';
import type { ServeHandler, ServeOptions } from './serve.js';

const key = `whsec_${Buffer.from('a signing key of the tests').toString('base64')}`;
const runId = '0192f0c0-0000-7000-8000-000000000001';
const eventId = '0192f0c0-0000-7000-8000-000000000000';

const mebibyte = Buffer.alloc(1024 * 1024, ' ');
function endless() {
  let count = 0;
  let gone = false;
  const source = {
    pull: (controller: ReadableStreamDefaultController<Uint8Array>) => {
      count += 1;
      controller.enqueue(mebibyte);
    },
    cancel: () => void (gone = true),
  };
  const body = new ReadableStream<Uint8Array>(source, { highWaterMark: 0 });
  return { body, chunks: () => count, cancelled: () => gone };
}

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

async function listen(server: Server): Promise<string> {
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const adder = createFunction({ id: 'add', triggers: [{ event: 'numbers' }] }, async ({ event, step }) => {
  const { a, b } = event.data as { a: number; b: number };
  const [left, right] = await Promise.all([step.run('left', () => a), step.run('right', () => b)]);
  await step.sleep('pause', '1h');
  return step.run('sum', () => left + right);
});
const hanging = createFunction({ id: 'hang', triggers: [] }, ({ step, signal }) =>
  step.run(
    'hang',
    () => new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('aborted')))),
  ),
);

function build(options: Partial<ServeOptions> = {}): ServeHandler {
  return serve({ app: 'maths', functions: [adder, hanging], signingKey: key, log: () => {}, ...options });
}

function invocation(
  over: { functionId?: string; memo?: MemoizedStep[]; deadlineMs?: number; v?: number } = {},
) {
  return {
    v: over.v ?? 1,
    run: { id: runId, functionId: over.functionId ?? 'add', attempt: 1 },
    event: { id: eventId, name: 'numbers', data: '{"a":1,"b":2}', receivedAtMs: 1, correlationId: eventId },
    memo: over.memo ?? [],
    ...(over.deadlineMs === undefined ? {} : { deadlineMs: over.deadlineMs }),
  } satisfies Invocation;
}

function signed(body: string, signingKey = key, atMs = Date.now()): RequestInit {
  const id = 'msg_1';
  const timestamp = String(Math.floor(atMs / 1_000));
  return {
    method: 'POST',
    body,
    headers: {
      'webhook-id': id,
      'webhook-timestamp': timestamp,
      'webhook-signature': sign({ id, timestamp, body }, [signingKey]),
    },
  };
}

/** What the executor does between calls: keeps the records, and lets every timer fire. */
async function drive(
  call: (init: RequestInit) => Promise<Response>,
): Promise<{ kinds: string[]; output: unknown }> {
  const memo = new Map<string, MemoizedStep>();
  const kinds: string[] = [];
  for (;;) {
    const response = await call(signed(JSON.stringify(invocation({ memo: [...memo.values()] }))));
    expect(response.status).toBe(200);
    const { records, outcome } = pushAnswerSchema.parse(await response.json());
    kinds.push(outcome.kind);
    for (const record of records) {
      const status = record.status === 'waiting' ? 'completed' : record.status;
      memo.set(record.id, { ...record, status });
    }
    if (outcome.kind === 'completed') return { kinds, output: JSON.parse(outcome.output!) };
  }
}

describe('a push endpoint', () => {
  test('signs its answer with every key it has, for the call that it answers', async () => {
    const other = `whsec_${Buffer.from('another key of the tests').toString('base64')}`;
    const response = await build({ signingKey: [key, other] })(
      new Request('http://app.test/', signed(JSON.stringify(invocation()))),
    );
    expect(response.headers.get('webhook-id')).toBe(answerIdOf('msg_1'));
    const message = {
      id: answerIdOf('msg_1'),
      timestamp: response.headers.get('webhook-timestamp')!,
      body: await response.text(),
    };
    for (const known of [key, other]) {
      const header = response.headers.get('webhook-signature')!;
      expect(verifySignature(message, header, [known], Date.now())).toEqual({ valid: true });
    }
  });

  test('answers with what the logger wrote in this call, also when the function throws, and with nothing if it wrote nothing', async () => {
    keepSecret('a-secret-of-the-tests');
    const talking = createFunction({ id: 'talk', triggers: [] }, async ({ step, logger }) => {
      logger.info('begins with a-secret-of-the-tests', { key: 'a-secret-of-the-tests' });
      await step.run('say', ({ attempt }) => logger.warn('in a step', { attempt }));
      logger.error('no further');
      throw new NonRetryableError('no');
    });
    const heard: string[] = [];
    const handler = build({ functions: [talking, adder], log: ({ message }) => heard.push(message) });
    const call = async (over: Parameters<typeof invocation>[0]) => {
      const body = JSON.stringify(invocation(over));
      const answer = (await (await handler(new Request('http://localhost', signed(body)))).json()) as object;
      return pushAnswerSchema.parse(answer);
    };
    const { outcome, lines } = await call({ functionId: 'talk' });
    expect(outcome.kind).toBe('threw');
    expect(lines).toMatchObject([
      { sequence: 0, level: 'info', message: 'begins with [secret]', fields: '{"key":"[secret]"}' },
      { sequence: 1, level: 'warn', fields: '{"attempt":1}', step: { id: 'say', attempt: 1 } },
      { sequence: 2, level: 'error', message: 'no further' },
    ]);
    expect(lines!.every((line) => line.atMs > 0)).toBe(true);
    const memo = [{ id: 'say', type: 'run', attempt: 1, status: 'completed', order: 0 }] as const;
    const replayed = await call({ functionId: 'talk', memo: [...memo] });
    expect(replayed.lines).toMatchObject([{ sequence: 0, message: 'no further' }]);
    expect('lines' in (await call({}))).toBe(false);
    expect(heard).toHaveLength(4);
  });

  test('can have unsigned answers refused only if it can sign', () => {
    const unable = () => build({ signingKey: [], dev: true, signedAnswers: true });
    expect(unable).toThrow(expect.objectContaining({ field: 'signedAnswers' }));
  });

  test('takes a run from call to call over node:http', async () => {
    const url = await listen(createServer(build().node));
    expect(await drive((init) => fetch(url, init))).toEqual({
      kinds: ['yielded', 'completed'],
      output: 3,
    });
  });

  test('takes a run from call to call as a fetch-style handler', async () => {
    const handler = build();
    const result = await drive((init) => handler(new Request('http://localhost/api/ironflow', init)));
    expect(result.output).toBe(3);
  });

  test('refuses a call that is unsigned, signed with another key, too old, or changed on the way', async () => {
    const url = await listen(createServer(build().node));
    const body = JSON.stringify(invocation());
    const otherKey = `whsec_${Buffer.from('another key of the tests').toString('base64')}`;
    const inits = [
      { method: 'POST', body },
      signed(body, otherKey),
      signed(body, key, Date.now() - 400_000),
      { ...signed(body), body: `${body} ` },
    ];
    for (const init of inits) {
      const response = await fetch(url, init);
      expect(response.status).toBe(401);
      expect(await response.json()).toMatchObject({ error: { code: 'signature_invalid' } });
    }
  });

  test('takes any of several keys, and unsigned calls only in development', async () => {
    const rotated = build({
      signingKey: [`whsec_${Buffer.from('a new key of the tests').toString('base64')}`, key],
    });
    const body = JSON.stringify(invocation());
    expect((await rotated(new Request('http://localhost', signed(body)))).status).toBe(200);
    const open = serve({ app: 'maths', functions: [adder], dev: true, signingKey: [] });
    expect((await open(new Request('http://localhost', { method: 'POST', body }))).status).toBe(200);
    for (const signingKey of [[], 'whsec_', 'secret', [key, 'whsec_c2hvcnQ=']]) {
      expect(() => serve({ app: 'maths', functions: [adder], signingKey })).toThrow(/signingKey/);
    }
  });

  test('answers what it cannot do with a code', async () => {
    const handler = build();
    const status = async (body: string) => {
      const response = await handler(new Request('http://localhost', signed(body)));
      return [response.status, ((await response.json()) as { error: { code: string } }).error.code];
    };
    expect(await status('{')).toEqual([400, 'invocation_invalid']);
    expect(await status('{}')).toEqual([400, 'invocation_invalid']);
    expect(await status(JSON.stringify(invocation({ v: 3 })))).toEqual([400, 'protocol_version_unsupported']);
    expect(await status(JSON.stringify(invocation({ functionId: 'nope' })))).toEqual([
      404,
      'function_not_found',
    ]);
    expect((await handler(new Request('http://localhost', { method: 'DELETE' }))).status).toBe(405);
  });

  test('looks at the version before it looks at anything else of a call', async () => {
    const body = JSON.stringify({ v: 3, run: 'of another form' });
    const response = await build()(new Request('http://localhost', signed(body)));
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: { code: 'protocol_version_unsupported' } });
  });

  test.each([
    ['unsigned', {}],
    ['too old', { ...signed('', key, Date.now() - 400_000).headers }],
    ['of no time', { ...signed('').headers, 'webhook-timestamp': 'now' }],
  ])('refuses a call that is %s without reading it', async (_, headers) => {
    const { body, chunks } = endless();
    const init = { method: 'POST', body, headers, duplex: 'half' };
    const response = await build()(new Request('http://localhost', init as RequestInit));
    expect(response.status).toBe(401);
    expect(chunks()).toBe(0);
  });

  test('stops reading a call that is too long, as a fetch-style handler', async () => {
    const { body, chunks, cancelled } = endless();
    const init = { ...signed(''), body, duplex: 'half' };
    const response = await build()(new Request('http://localhost', init as RequestInit));
    expect(response.status).toBe(413);
    expect(await response.json()).toMatchObject({ error: { code: 'body_unreadable' } });
    expect(chunks()).toBeLessThan(callBytesMax / mebibyte.length + 4);
    expect(cancelled()).toBe(true);
  });

  test.each([
    ['that says so', { 'content-length': String(callBytesMax + 1) }],
    ['that does not say so', {}],
  ])('answers a call that is too long over node:http: one %s', async (_, length) => {
    const url = await listen(createServer(build().node));
    const headers = { ...(signed('').headers as Record<string, string>), ...length };
    const call = request(url, { method: 'POST', headers });
    const answered = once(call, 'response');
    let done = false;
    void answered.then(() => (done = true));
    let sent = 0;
    while (!done && sent < callBytesMax) {
      sent += mebibyte.length;
      if (!call.write(mebibyte)) await Promise.race([once(call, 'drain'), answered]);
    }
    call.end(Buffer.alloc(callBytesMax + 1 - sent));
    const [response] = (await answered) as [IncomingMessage];
    expect(response.statusCode).toBe(413);
    expect(await text(response)).toContain('body_unreadable');
  });

  test('says why it cannot see the bytes when a parser ran first', async () => {
    const { node } = build();
    const server = createServer((request, response) => {
      request.resume().once('end', () => node(request, response));
    });
    const response = await fetch(await listen(server), signed(JSON.stringify(invocation())));
    expect(response.status).toBe(500);
    expect(await response.text()).toContain('rawBody');
  });

  test('answers at the deadline with the running step as a failed attempt', async () => {
    const body = JSON.stringify(invocation({ functionId: 'hang', deadlineMs: 50 }));
    const response = await build()(new Request('http://localhost', signed(body)));
    expect(await response.json()).toMatchObject({
      outcome: { kind: 'yielded' },
      records: [{ status: 'retrying', error: { name: 'DeadlineExceeded' } }],
    });
  });

  test('aborts its work when the caller goes away', async () => {
    let begun!: () => void;
    let aborted!: () => void;
    const running = new Promise<void>((resolve) => (begun = resolve));
    const stopped = new Promise<void>((resolve) => (aborted = resolve));
    const watched = createFunction({ id: 'watched', triggers: [] }, ({ step }) =>
      step.run('long', ({ signal }) => {
        signal.addEventListener('abort', () => aborted());
        begun();
        return new Promise(() => {});
      }),
    );
    const url = await listen(createServer(build({ functions: [watched] }).node));
    const caller = new AbortController();
    const call = fetch(url, {
      ...signed(JSON.stringify(invocation({ functionId: 'watched' }))),
      signal: caller.signal,
    });
    await running;
    caller.abort();
    await expect(call).rejects.toThrow();
    await stopped;
  });

  test('says who it is and nothing secret', async () => {
    const response = await build({ apiKey: 'ifk_secret' })(new Request('http://localhost'));
    const text = await response.text();
    expect(JSON.parse(text)).toEqual({
      app: 'maths',
      functions: 2,
      sdk: expect.stringMatching(/^typescript\//),
    });
    expect(text).not.toContain('ifk_');
  });
});

describe('registration', () => {
  test('is one request for all who ask at once, and carries the functions', async () => {
    const bodies: unknown[] = [];
    let asked = 0;
    let everybodyAsked!: () => void;
    const released = new Promise<void>((resolve) => (everybodyAsked = resolve));
    const platform = await listen(
      createServer((request, response) => {
        let text = '';
        request.on('data', (chunk: Buffer) => (text += chunk.toString()));
        request.on('end', () => {
          bodies.push([request.method, request.url, request.headers.authorization, JSON.parse(text)]);
          const answer = { appId: 'maths', registered: ['add', 'hang'], unchanged: [], archived: [] };
          const body = JSON.stringify(answer);
          void released.then(() => response.setHeader('content-type', 'application/json').end(body));
        });
      }),
    );
    const handler = build({
      ironflowUrl: platform,
      apiKey: 'ifk_test',
      url: 'https://app.example.org/ironflow',
    });
    const url = await listen(
      createServer((request, response) => {
        handler.node(request, response);
        if (++asked === 2) everybodyAsked();
      }),
    );
    const [first] = await Promise.all([
      fetch(url, { method: 'PUT' }),
      fetch(url, { method: 'PUT' }),
      handler.register(),
    ]);
    expect(await first.json()).toMatchObject({ registered: ['add', 'hang'] });
    expect(bodies).toHaveLength(1);
    expect(bodies[0]).toMatchObject([
      'PUT',
      '/v1/apps/maths',
      'Bearer ifk_test',
      {
        id: 'maths',
        mode: 'push',
        url: 'https://app.example.org/ironflow',
        functions: [{ id: 'add' }, { id: 'hang' }],
      },
    ]);
  });

  test('never believes the address of a request outside of development', async () => {
    const handler = build({ ironflowUrl: 'http://127.0.0.1:1', apiKey: 'ifk_test' });
    const response = await handler(new Request('http://attacker.example', { method: 'PUT' }));
    expect(response.status).toBe(500);
    expect(await response.json()).toMatchObject({ error: { code: 'configuration_invalid', field: 'url' } });
  });
});
