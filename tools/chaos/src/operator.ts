/** Plays what the operator does, by the public API, each request again until it is answered. */
import { setTimeout as delay } from 'node:timers/promises';
import { messageOf } from '@ironflow/errors';
import { fragileFunction } from './cases/breakers.js';
import type { Requester } from './client.js';
import type { OperationFact } from './facts.js';
import type { PlannedOperation } from './operations.js';
import type { Stage } from './stage.js';

export interface Operations {
  done: OperationFact[];
  /** Those that could not be played, and why. */
  failures: string[];
}

export async function playOperations(
  planned: readonly PlannedOperation[],
  by: { requester: Requester; fragile: Stage['fragile']; say: (line: string) => void },
): Promise<Operations> {
  const startedMs = performance.now();
  const operations: Operations = { done: [], failures: [] };
  for (const { name, atMs, forMs, functionId } of planned) {
    await delay(Math.max(0, startedMs + atMs - performance.now()));
    const { begin, end } = actsOf({ name, functionId }, by);
    try {
      await begin();
      const fromMs = Date.now();
      await delay(forMs);
      const untilMs = Date.now();
      await end();
      operations.done.push({ name, fromMs, untilMs, ...(functionId === undefined ? {} : { functionId }) });
      by.say(`${name}: ${functionId ?? ''} ${((untilMs - fromMs) / 1_000).toFixed(1)} s`);
    } catch (error) {
      operations.failures.push(`${name} could not be played: ${messageOf(error)}`);
    }
  }
  return operations;
}

interface Acts {
  begin: () => Promise<void>;
  end: () => Promise<void>;
}

function actsOf(
  { name, functionId }: Pick<PlannedOperation, 'name' | 'functionId'>,
  { requester, fragile }: { requester: Requester; fragile: Stage['fragile'] },
): Acts {
  const post = (path: string) => async (): Promise<void> => {
    const { status, body } = await requester.send({ method: 'POST', path });
    if (status >= 300) throw new Error(`${path} was answered ${status}: ${JSON.stringify(body)}`);
  };
  switch (name) {
    case 'pause-function': {
      const path = `/v1/functions/${functionId}`;
      return { begin: post(`${path}/pause`), end: post(`${path}/resume`) };
    }
    case 'pause-environment':
      return { begin: post('/v1/environment/pause'), end: post('/v1/environment/resume') };
    case 'break-endpoint':
      return { begin: () => fragile.become('fails'), end: () => fragile.become('works') };
    case 'force-open': {
      const path = `/v1/breakers/${fragileFunction.id}`;
      return { begin: post(`${path}/open`), end: post(`${path}/reset`) };
    }
  }
}
