import type { RequestListener } from 'node:http';
import { afterAll, afterEach, expect, test } from '@jest/globals';
import { answerIdOf, sign, signatureHeaders } from '@ironflow/schema';
import { freePort } from '@ironflow/testing';
import { parseAddressRange } from './outbound-rules.js';
import { createPushCaller } from './push-call.js';
import type { PushResult } from './push-call.js';
import { listen } from './testing/endpoint.js';

const allowed = ['127.0.0.0/8', '2001:db8::/32'].map((range) => parseAddressRange(range)!);
const caller = createPushCaller({ allowed });
const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
});
afterAll(() => caller.close());

const signingKey = `whsec_${Buffer.alloc(24, 1).toString('base64')}`;

function call(url: string, { timeoutMs = 10_000, signedAnswers = false } = {}): Promise<PushResult> {
  const runId = '0190a000-0000-7000-8000-000000000001';
  const event = { id: runId, name: 'test', data: 'null', receivedAtMs: 1, correlationId: runId };
  return caller.call({
    url,
    id: 'call-1',
    invocation: { v: 1, run: { id: runId, functionId: 'f', attempt: 1 }, event, memo: [] },
    signingKeys: [signingKey],
    signedAnswers,
    trace: undefined,
    timeoutMs,
    signal: new AbortController().signal,
  });
}

async function open(listener: RequestListener): Promise<string> {
  const endpoint = await listen(listener);
  undo.push(() => endpoint.close());
  return endpoint.url;
}

test.each([
  // Something between us and the endpoint says so, and does not know what became of the endpoint.
  [408, true],
  [499, true],
  [502, true],
  [503, true],
  [504, true],
  [400, false],
  [401, false],
  [404, false],
  [429, false],
  [500, false],
  [501, false],
])('an endpoint that answers %i may still be running: %s', async (status, mayStillRun) => {
  const url = await open((_request, response) => response.writeHead(status).end());
  expect(await call(url)).toMatchObject({ kind: 'failed', error: { name: 'bad_status' }, mayStillRun });
});

test.each<[string, () => string | Promise<string>]>([
  ['nobody listens', async () => `http://127.0.0.1:${await freePort()}/`],
  ['the name is unknown', () => 'http://nobody.invalid/'],
  ['there is no route', () => 'http://[2001:db8::1]/'],
  [
    'it speaks no TLS',
    async () => (await open((_request, response) => response.end())).replace('http', 'https'),
  ],
])('a call was certainly never sent when %s', async (_why, target) => {
  expect(await call(await target())).toMatchObject({
    kind: 'failed',
    error: { name: 'unreachable' },
    mayStillRun: false,
  });
});

test('an endpoint that hangs up before or within its answer may still be running', async () => {
  const before = await open((request) => request.socket.destroy());
  const within = await open((request, response) => {
    response.write('{', () => request.socket.destroy());
  });
  for (const url of [before, within]) {
    expect(await call(url)).toMatchObject({ error: { name: 'unreachable' }, mayStillRun: true });
  }
});

const answer = JSON.stringify({ v: 1, records: [], outcome: { kind: 'completed' } });

/** Signed as given: for which call, over what, with which key. */
function answering(of: { id?: string; body?: string; key?: string; ageSeconds?: number }): RequestListener {
  return (_request, response) => {
    const { id = answerIdOf('call-1'), body = answer, key = signingKey, ageSeconds = 0 } = of;
    const timestamp = String(Math.floor(Date.now() / 1_000) - ageSeconds);
    response.setHeader(signatureHeaders.id, id);
    response.setHeader(signatureHeaders.timestamp, timestamp);
    response.setHeader(signatureHeaders.signature, sign({ id, timestamp, body }, [key]));
    response.end(answer);
  };
}

test('an answer that the app has signed is taken, whether it has to be signed or not', async () => {
  const url = await open(answering({}));
  for (const signedAnswers of [true, false]) {
    expect(await call(url, { signedAnswers })).toMatchObject({ kind: 'answered' });
  }
});

test.each<[string, Parameters<typeof answering>[0]]>([
  ['for another call', { id: answerIdOf('call-2') }],
  ['as the call itself is', { id: 'call-1' }],
  ['over another body', { body: answer.replace('completed', 'continue') }],
  ['with another key', { key: `whsec_${Buffer.alloc(24, 2).toString('base64')}` }],
  ['too long ago', { ageSeconds: 3_600 }],
])('an answer that was signed %s is refused, also where it need not be signed', async (_how, of) => {
  const refused = { kind: 'failed', error: { name: 'answer_signature_invalid' }, mayStillRun: false };
  expect(await call(await open(answering(of)))).toMatchObject(refused);
});

test('an answer without a signature is refused only where all have one', async () => {
  const url = await open((_request, response) => response.end(answer));
  expect(await call(url)).toMatchObject({ kind: 'answered' });
  const refused = await call(url, { signedAnswers: true });
  expect(refused).toMatchObject({ kind: 'failed', error: { name: 'answer_signature_invalid' } });
});
