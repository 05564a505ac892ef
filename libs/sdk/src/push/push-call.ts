/** One signed call of the platform: replay the memo, run what is new, answer with its records. */
import {
  answerIdOf,
  invocationSchema,
  isInvocationVersion,
  protocolVersion,
  sign,
  signatureHeaders,
  signatureToleranceSeconds,
  verifySignature,
} from '@ironflow/schema';
import type { Invocation, PushAnswer } from '@ironflow/schema';
import type { IronflowFunction } from '../function.js';
import type { Log } from '../logger.js';
import { startActivation } from '../replay/activation.js';
import type { ActivationResult } from '../replay/activation.js';
import { KeptLines } from '../replay/kept-lines.js';
import type { PlatformCalls } from '../replay/platform-calls.js';
import { startTimer } from '../timer.js';
import { errorReply, jsonReply } from './reply.js';
import type { EndpointRequest, Reply } from './reply.js';

export interface PushCallOptions {
  definitions: ReadonlyMap<string, IronflowFunction>;
  keys: readonly string[];
  /** Takes unsigned calls. */
  dev: boolean;
  platform: PlatformCalls;
  log: Log;
}

export function createPushCalls(options: PushCallOptions): (request: EndpointRequest) => Promise<Reply> {
  return async (request) => {
    // What anybody may send is refused before it is read.
    const signature = readSignature(request, options);
    if ('refused' in signature) return errorReply(401, 'signature_invalid', signature.refused);
    const body = await request.body();
    const refused = signature.check(body);
    if (refused !== undefined) return errorReply(401, 'signature_invalid', refused);
    const read = readInvocation(body);
    if ('refused' in read) return read.refused;
    const { invocation } = read;
    const definition = options.definitions.get(invocation.run.functionId);
    if (definition === undefined) {
      return errorReply(404, 'function_not_found', 'this app has no function of that id', 'run.functionId');
    }
    const kept = new KeptLines(Date.now);
    const result = await runCall({
      kept,
      invocation,
      definition,
      platform: options.platform,
      log: options.log,
      onGone: request.onGone,
    });
    if (result.kind === 'aborted') return errorReply(499, 'caller_gone', 'the caller went away');
    const lines = result.outcome.kind === 'continue' ? kept.takeBeforeNextCall() : kept.take();
    const answer: PushAnswer = {
      ...{ v: protocolVersion, records: result.records, outcome: result.outcome },
      ...(lines.length === 0 ? {} : { lines }),
    };
    return signed(jsonReply(200, answer), request, options);
  };
}

/** As the call is: whoever answers in its place has no key. */
function signed(reply: Reply, request: EndpointRequest, { keys }: PushCallOptions): Reply {
  const callId = request.header(signatureHeaders.id);
  if (callId === undefined || keys.length === 0) return reply;
  const id = answerIdOf(callId);
  const timestamp = String(Math.floor(Date.now() / 1_000));
  const headers = {
    [signatureHeaders.id]: id,
    [signatureHeaders.timestamp]: timestamp,
    [signatureHeaders.signature]: sign({ id, timestamp, body: reply.body }, keys),
  };
  return { ...reply, headers };
}

async function runCall(of: {
  kept: KeptLines;
  invocation: Invocation;
  definition: IronflowFunction;
  platform: PlatformCalls;
  log: Log;
  onGone: EndpointRequest['onGone'];
}): Promise<ActivationResult> {
  const { invocation, definition, platform, log } = of;
  const activation = startActivation({
    definition,
    invocation,
    now: Date.now,
    random: Math.random,
    startTimer,
    platform,
    log,
    keeper: of.kept,
  });
  of.onGone(() => activation.abort(new Error('the caller went away')));
  if (invocation.deadlineMs === undefined) return activation.result;
  const deadline = setTimeout(() => activation.expire(), invocation.deadlineMs);
  try {
    return await activation.result;
  } finally {
    clearTimeout(deadline);
  }
}

/** What is left to check once the body is there; `undefined` when it is sound. */
type SignatureCheck = { refused: string } | { check: (body: Uint8Array) => string | undefined };

function readSignature(request: EndpointRequest, { keys, dev }: PushCallOptions): SignatureCheck {
  const id = request.header(signatureHeaders.id);
  const timestamp = request.header(signatureHeaders.timestamp);
  const signature = request.header(signatureHeaders.signature);
  const unchecked = { check: () => undefined };
  if (id === undefined || timestamp === undefined || signature === undefined) {
    return dev ? unchecked : { refused: 'the call is not signed' };
  }
  // In development without a key there is nothing to check a signature with.
  if (keys.length === 0) return unchecked;
  const offBySeconds = Math.abs(Date.now() / 1_000 - Number(timestamp));
  if (!(offBySeconds <= signatureToleranceSeconds)) {
    return { refused: `the timestamp is off by more than ${signatureToleranceSeconds} s` };
  }
  return {
    check(body) {
      const check = verifySignature({ id, timestamp, body }, signature, keys, Date.now());
      return check.valid ? undefined : check.reason;
    },
  };
}

/** The version first: what a call of another one looks like is not known here. */
function readInvocation(body: Uint8Array): { invocation: Invocation } | { refused: Reply } {
  const json = parseJson(body);
  const v = typeof json === 'object' && json !== null && 'v' in json ? json.v : undefined;
  if (typeof v === 'number' && !isInvocationVersion(v)) {
    const message = `this SDK speaks version ${protocolVersion} of the protocol`;
    return { refused: errorReply(400, 'protocol_version_unsupported', message) };
  }
  const { data: invocation } = invocationSchema.safeParse(json);
  if (invocation !== undefined) return { invocation };
  return { refused: errorReply(400, 'invocation_invalid', 'the body is not an invocation') };
}

function parseJson(body: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('utf8')) as unknown;
  } catch {
    return undefined;
  }
}
