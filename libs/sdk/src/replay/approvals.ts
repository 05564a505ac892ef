/**
 * `step.approve`: a step that asks, `<name>:request`, then a wait for the decision, as which the platform sends a signal of a
 * name that no other signal may have. Each attempt to ask has a link of its own, and the first that is used decides. A link is
 * the right to decide: it is given to `request` and kept nowhere, neither as output nor in an error.
 */
import { messageOf } from '@ironflow/errors';
import { approvalNameBytesMax } from '@ironflow/schema';
import type { RetryPolicy } from '@ironflow/retry-policy';
import { ConfigurationError } from '../configuration-error.js';
import type { ApprovalDecision, ApproveOptions, StepContext, StepTools } from '../step-tools.js';
import type { StepWork } from './attempt.js';
import { unlessRefused } from './platform-calls.js';
import type { PlatformCalls } from './platform-calls.js';
import { checkName } from './step-name.js';
import type { WaitSteps } from './wait-steps.js';

interface ApproveWith {
  call: (step: StepWork) => Promise<unknown>;
  /** The id of the next step of that name, whenever it is called. */
  reserve: (name: string) => string;
  waits: () => WaitSteps;
  platform: PlatformCalls;
  runId: string;
  policy: RetryPolicy;
  stepTimeoutMs: number | undefined;
}

export function createApprove(options: ApproveWith): StepTools['approve'] {
  return (name, given = {}) => {
    checkName(`${name}:request`);
    const { request, timeout } = given;
    if (request !== undefined && typeof request !== 'function') {
      throw new ConfigurationError(`step "${name}": request: must be a function`, 'request');
    }
    // The wait's own id, though the request comes before it: whoever decides means the step that the timeline shows.
    const approval = options.reserve(name);
    // Before anything is asked: what is wrong with the wait is refused at once.
    if (Buffer.byteLength(approval) > approvalNameBytesMax) {
      const rule = `a step.approve's name is at most ${approvalNameBytesMax} bytes, with the prefixes of its branches`;
      throw new ConfigurationError(`${rule}: "${name.slice(0, 64)}…"`);
    }
    const wait = options.waits().approval(name, { approval, timeout });
    const decided =
      request === undefined
        ? options.call(wait)
        : options.call(requestStep(options, { name, approval, request })).then(() => options.call(wait));
    // One that nobody awaits must not end the process when it fails; its record says what happened.
    decided.catch(() => {});
    return decided as Promise<ApprovalDecision | null>;
  };
}

function requestStep(
  { platform, runId, policy, stepTimeoutMs: timeoutMs }: ApproveWith,
  of: { name: string; approval: string; request: NonNullable<ApproveOptions['request']> },
): StepWork {
  const work = async (context: StepContext): Promise<void> => {
    const { signal } = context;
    const { url } = await unlessRefused(() => platform.approvals.createLink(runId, of.approval, { signal }));
    try {
      await of.request(Object.assign(context, { url }));
    } catch (thrown) {
      throw withoutLink(thrown, url);
    }
  };
  return { type: 'run', name: `${of.name}:request`, work, policy, timeoutMs };
}

/** An error may quote where it was sent to, and what a step throws is kept and shown. */
function withoutLink(thrown: unknown, url: string): unknown {
  const token = url.slice(url.lastIndexOf('/') + 1);
  const hidden = (text: string) => text.replaceAll(token, 'ifa_…');
  if (!(thrown instanceof Error)) return new Error(hidden(messageOf(thrown)));
  const stack = thrown.stack ?? '';
  if (![thrown.message, stack].some((text) => text.includes(token))) return thrown;
  // Its fields may be read-only, as those of a DOMException are. What it inherits says whether it may be retried.
  return Object.create(thrown, {
    name: { value: thrown.name },
    message: { value: hidden(thrown.message) },
    stack: { value: hidden(stack) },
  });
}
