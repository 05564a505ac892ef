/**
 * The events of a scenario, as a client sends them that wants each of them taken: one a request, evenly spread, each under
 * an idempotency key of its own and again until it is answered with 202.
 */
import { messageOf } from '@ironflow/errors';
import { Agent, fetch } from 'undici';
import { faultEvent } from './fault-functions.js';

export interface Emission {
  /** One more, beside the others. */
  emit(): Promise<void>;
  /** No more are sent; waits until each has been answered, and gives their ids. */
  finish(): Promise<string[]>;
  /** How often a request was refused or not answered, by status. */
  readonly refusals: Record<string, number>;
}

export interface EmissionOptions {
  url: string;
  apiKey: string;
  perSecond: number;
  /** Absent: until it is finished. */
  count: number | undefined;
  /** How long each may take until it is taken. */
  answeredWithinMs?: number;
}

const answeredWithinMsDefault = 60_000;
const pauseMsMin = 100;
const pauseMsMax = 5_000;
/** More requests wait here: connections by the thousand would be what fails. */
const connectionsMax = 256;

/** A refusal as it should be: it says when to come again. */
export const politeRefusal = 'status 503';

export function startEmission(options: EmissionOptions): Emission {
  const { url, apiKey, perSecond, count, answeredWithinMs = answeredWithinMsDefault } = options;
  const dispatcher = new Agent({ connections: connectionsMax });
  const sent: Promise<string>[] = [];
  const refusals: Record<string, number> = {};
  const emitNext = (): Promise<string> => {
    const n = sent.length;
    const body = JSON.stringify({ name: faultEvent, data: { n }, idempotencyKey: `fault-${n}` });
    const answered = emitUntilTaken(body);
    answered.catch(() => undefined);
    sent.push(answered);
    return answered;
  };
  const emitUntilTaken = async (body: string): Promise<string> => {
    const deadlineMs = performance.now() + answeredWithinMs;
    for (let last = '', tries = 0; ; tries += 1) {
      let retryAfterMs = 0;
      try {
        const headers = { 'content-type': 'application/json', authorization: `Bearer ${apiKey}` };
        const answer = await fetch(`${url}/v1/events`, { method: 'POST', headers, body, dispatcher });
        const text = await answer.text();
        if (answer.status === 202) return (JSON.parse(text) as { ids: [string] }).ids[0];
        retryAfterMs = Number(answer.headers.get('retry-after')) * 1_000;
        last = `status ${answer.status}${retryAfterMs > 0 ? '' : ' without Retry-After'}`;
      } catch (error) {
        last = `no answer (${messageOf((error as Error).cause ?? error)})`;
      }
      refusals[last] = (refusals[last] ?? 0) + 1;
      if (performance.now() > deadlineMs) throw new Error(`an event was not taken: ${last}`);
      const pauseMs = Math.min(pauseMsMax, pauseMsMin * 2 ** tries);
      await new Promise((resolve) => setTimeout(resolve, Math.max(pauseMs, retryAfterMs)));
    }
  };
  const startedMs = performance.now();
  const timer = setInterval(() => {
    const due = ((performance.now() - startedMs) / 1_000) * perSecond;
    while (sent.length < Math.min(due, count ?? Number.POSITIVE_INFINITY)) void emitNext();
    if (count !== undefined && sent.length >= count) clearInterval(timer);
  }, 10);
  return {
    refusals,
    emit: async () => void (await emitNext()),
    finish: async () => {
      clearInterval(timer);
      return Promise.all(sent).finally(() => dispatcher.close());
    },
  };
}
