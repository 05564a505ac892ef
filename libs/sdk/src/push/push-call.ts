/** One signed call of the platform: replay the memo, run what is new, answer with its records. */
import { invocationSchema, protocolVersion, signatureHeaders, verifySignature } from '@ironflow/schema';
import type { Invocation, PushAnswer } from '@ironflow/schema';
import type { IronflowFunction } from '../function.js';
import type { Log } from '../logger.js';
import { startActivation } from '../replay/activation.js';
import type { ActivationResult } from '../replay/activation.js';
import { errorReply, jsonReply } from './reply.js';
import type { EndpointRequest, Reply } from './reply.js';

export interface PushCallOptions {
  definitions: ReadonlyMap<string, IronflowFunction>;
  keys: readonly string[];
  /** Takes unsigned calls. */
  dev: boolean;
  log: Log;
}

export function createPushCalls(options: PushCallOptions): (request: EndpointRequest) => Promise<Reply> {
  return async (request) => {
    const body = await request.body();
    const refused = checkSignature(request, body, options);
    if (refused !== undefined) return errorReply(401, 'signature_invalid', refused);
    const invocation = readInvocation(body);
    if (invocation === undefined)
      return errorReply(400, 'invocation_invalid', 'the body is not an invocation');
    if (invocation.v !== protocolVersion) {
      const message = `this SDK speaks version ${protocolVersion} of the protocol`;
      return errorReply(400, 'protocol_version_unsupported', message);
    }
    const definition = options.definitions.get(invocation.run.functionId);
    if (definition === undefined) {
      return errorReply(404, 'function_not_found', 'this app has no function of that id', 'run.functionId');
    }
    const result = await runCall({ invocation, definition, log: options.log, onGone: request.onGone });
    if (result.kind === 'aborted') return errorReply(499, 'caller_gone', 'the caller went away');
    const answer: PushAnswer = { v: protocolVersion, records: result.records, outcome: result.outcome };
    return jsonReply(200, answer);
  };
}

async function runCall(of: {
  invocation: Invocation;
  definition: IronflowFunction;
  log: Log;
  onGone: EndpointRequest['onGone'];
}): Promise<ActivationResult> {
  const { invocation, definition, log } = of;
  const activation = startActivation({ definition, invocation, now: Date.now, random: Math.random, log });
  of.onGone(() => activation.abort(new Error('the caller went away')));
  if (invocation.deadlineMs === undefined) return activation.result;
  const deadline = setTimeout(() => activation.expire(), invocation.deadlineMs);
  try {
    return await activation.result;
  } finally {
    clearTimeout(deadline);
  }
}

/** Why the call is refused, if it is. */
function checkSignature(
  request: EndpointRequest,
  body: Uint8Array,
  { keys, dev }: PushCallOptions,
): string | undefined {
  const id = request.header(signatureHeaders.id);
  const timestamp = request.header(signatureHeaders.timestamp);
  const signature = request.header(signatureHeaders.signature);
  if (id === undefined || timestamp === undefined || signature === undefined) {
    return dev ? undefined : 'the call is not signed';
  }
  // In development without a key there is nothing to check a signature with.
  if (keys.length === 0) return undefined;
  const check = verifySignature({ id, timestamp, body }, signature, keys, Date.now());
  return check.valid ? undefined : check.reason;
}

function readInvocation(body: Uint8Array): Invocation | undefined {
  try {
    const parsed = invocationSchema.safeParse(JSON.parse(Buffer.from(body).toString('utf8')));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}
