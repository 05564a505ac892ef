/** One signed call of a push app's endpoint. How it went is the value; it never rejects. */
import { Agent, buildConnector, request } from 'undici';
import type { Dispatcher } from 'undici';
import { messageOf } from '@ironflow/errors';
import {
  answerIdOf,
  formatTraceparent,
  pushAnswerSchema,
  sign,
  signatureHeaders,
  verifySignature,
} from '@ironflow/schema';
import type { Failure, Invocation, PushAnswer, TraceContext } from '@ironflow/schema';
import { createLookup, RefusedAddress, refusalOfHost } from './outbound-rules.js';
import type { AddressRange } from './outbound-rules.js';

export interface PushCall {
  url: string;
  /** Different for every call. */
  id: string;
  invocation: Invocation;
  signingKeys: string[];
  /** Whether an answer has to be signed. One that is signed has to be signed well in any case. */
  signedAnswers: boolean;
  trace: TraceContext | undefined;
  timeoutMs: number;
  signal: AbortSignal;
}

export type PushResult =
  | { kind: 'answered'; answer: PushAnswer }
  /** `mayStillRun`: the endpoint had got the call and did not say that it ended. */
  | { kind: 'failed'; error: Failure; mayStillRun: boolean }
  | { kind: 'aborted' };

export interface PushCaller {
  call(call: PushCall): Promise<PushResult>;
  close(): Promise<void>;
}

/** Twice the largest output, escaped as a string within JSON, and what an SDK puts beside it (`answerBytesMax` there). */
const answerBytesMax = 32 * 1024 * 1024;
const connectTimeoutMs = 5_000;
/**
 * Answers that come from something between us and the endpoint, which then may have got the call and be at it: bad
 * gateway, unavailable, gateway timeout, request timeout, and nginx' own for a client that left.
 */
const statusesOfProxies = new Set([408, 499, 502, 503, 504]);

export function createPushCaller({ allowed }: { allowed: readonly AddressRange[] }): PushCaller {
  /** Nothing was sent when these happened: no address, no route, no connection, no TLS. The endpoint has not begun. */
  const failuresToConnect = new WeakSet<object>();
  const connect = createConnector(allowed);
  const agent = new Agent({
    connections: 512,
    pipelining: 1,
    keepAliveTimeout: 30_000,
    connect: (target, callback) =>
      connect(target, (...result) => {
        if (result[0] !== null) failuresToConnect.add(result[0]);
        callback(...result);
      }),
  });
  return {
    close: () => agent.destroy(),
    call: async (call) => {
      const deadline = AbortSignal.timeout(call.timeoutMs);
      try {
        return await send(agent, call, AbortSignal.any([deadline, call.signal]));
      } catch (error) {
        if (call.signal.aborted) return { kind: 'aborted' };
        if (deadline.aborted) {
          const message = `the endpoint did not answer within ${call.timeoutMs} ms`;
          return failed('timed_out', message, false);
        }
        if (error instanceof RefusedAddress) {
          return failed('address_refused', `the endpoint must not be called: ${error.message}`, false);
        }
        const wasSent = typeof error !== 'object' || error === null || !failuresToConnect.has(error);
        return failed('unreachable', `the call failed: ${codeOf(error) ?? messageOf(error)}`, wasSent);
      }
    },
  };
}

/** Answers are read from where it connects to, and nowhere else: redirects are not followed. */
function createConnector(allowed: readonly AddressRange[]): buildConnector.connector {
  const connectorFor = (isSecure: boolean): buildConnector.connector => {
    const rules = { allowed, isSecure };
    const connect = buildConnector({ timeout: connectTimeoutMs, lookup: createLookup(rules) });
    return (target, callback) => {
      const refused = refusalOfHost(target.hostname, rules);
      if (refused === undefined) connect(target, callback);
      else callback(refused, null);
    };
  };
  const connectPlain = connectorFor(false);
  const connectSecurely = connectorFor(true);
  return (target, callback) =>
    (target.protocol === 'https:' ? connectSecurely : connectPlain)(target, callback);
}

async function send(agent: Dispatcher, call: PushCall, signal: AbortSignal): Promise<PushResult> {
  const body = JSON.stringify(call.invocation);
  const timestamp = String(Math.floor(Date.now() / 1_000));
  const response = await request(call.url, {
    dispatcher: agent,
    method: 'POST',
    signal,
    headersTimeout: 0,
    bodyTimeout: 0,
    headers: {
      'content-type': 'application/json',
      'user-agent': 'ironflow-executor',
      [signatureHeaders.id]: call.id,
      [signatureHeaders.timestamp]: timestamp,
      [signatureHeaders.signature]: sign({ id: call.id, timestamp, body }, call.signingKeys),
      ...(call.trace === undefined ? {} : { traceparent: formatTraceparent(call.trace) }),
    },
    body,
  });
  const bytes = await readBounded(response.body);
  if (response.statusCode !== 200) {
    const mayStillRun = statusesOfProxies.has(response.statusCode);
    return failed('bad_status', `the endpoint answered ${response.statusCode}`, mayStillRun);
  }
  if (bytes === undefined)
    return failed('bad_answer', `the answer is larger than ${answerBytesMax} bytes`, false);
  const forged = forgery(call, response.headers, bytes);
  if (forged !== undefined) return failed('answer_signature_invalid', forged, false);
  const parsed = pushAnswerSchema.safeParse(parseJson(bytes));
  if (!parsed.success)
    return failed('bad_answer', 'the answer is not one of the protocol: is it an Ironflow endpoint?', false);
  return { kind: 'answered', answer: parsed.data };
}

/** Why an answer is not taken for one of the app's; `undefined` when it is. */
function forgery(
  { id, signingKeys, signedAnswers }: PushCall,
  headers: Record<string, string | string[] | undefined>,
  body: Uint8Array,
): string | undefined {
  const signature = headers[signatureHeaders.signature];
  if (signature === undefined) {
    return signedAnswers ? 'the answer is not signed, and those of the app are' : undefined;
  }
  const timestamp = String(headers[signatureHeaders.timestamp]);
  const check = verifySignature(
    { id: answerIdOf(id), timestamp, body },
    String(signature),
    signingKeys,
    Date.now(),
  );
  return check.valid ? undefined : `the signature of the answer is not valid: ${check.reason}`;
}

async function readBounded(body: AsyncIterable<Buffer>): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > answerBytesMax) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}

function failed(name: string, message: string, mayStillRun: boolean): PushResult {
  return { kind: 'failed', error: { name, message }, mayStillRun };
}

function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}
