/** A run as it changes, over server-sent events; connects again when the stream breaks before the run has ended. */
import { setTimeout as delay } from 'node:timers/promises';
import { isTerminal } from '@ironflow/schema';
import type { RunUpdate } from '@ironflow/schema';
import { backoffMs } from '@ironflow/retry-policy';
import { IronflowApiError } from './api-error.js';
import type { Http } from './http.js';
import { readEventStream } from './event-stream.js';

/** Of connections in a row that brought nothing new. */
const retries = { attempts: 8, initialDelayMs: 100, factor: 2, maxDelayMs: 5_000 };
/** The platform sends at least a comment this often; a silent connection is dead. */
const silenceMsMax = 45_000;
/** Every connection begins with the run's state: only one that lasted so long did well without anything new. */
const goodConnectionMs = 1_000;

export async function* watchRun(of: {
  http: Http;
  runId: string;
  signal: AbortSignal | undefined;
}): AsyncIterableIterator<RunUpdate> {
  const path = `/v1/runs/${encodeURIComponent(of.runId)}/watch`;
  let last: string | undefined;
  for (let fruitless = 1; ; fruitless += 1) {
    const openedAtMs = performance.now();
    const connection = new AbortController();
    const signal =
      of.signal === undefined ? connection.signal : AbortSignal.any([connection.signal, of.signal]);
    let silence = setTimeout(() => connection.abort(), silenceMsMax);
    let broke: unknown;
    let lived = false;
    try {
      const response = await of.http.open({
        method: 'GET',
        path,
        signal,
        headers: { accept: 'text/event-stream' },
      });
      for await (const event of readEventStream(response.body)) {
        clearTimeout(silence);
        silence = setTimeout(() => connection.abort(), silenceMsMax);
        lived = performance.now() - openedAtMs > goodConnectionMs;
        if (event.name !== 'run' || event.data === last) continue;
        fruitless = 0;
        last = event.data;
        const update = JSON.parse(event.data) as RunUpdate;
        yield update;
        if (isTerminal(update.status)) return;
      }
    } catch (thrown) {
      if (of.signal?.aborted === true || (thrown instanceof IronflowApiError && isFinal(thrown)))
        throw thrown;
      broke = thrown;
    } finally {
      clearTimeout(silence);
      connection.abort();
    }
    if (lived) fruitless = 0;
    if (fruitless >= retries.attempts) throw lost(broke);
    const pauseMs = fruitless === 0 ? 0 : backoffMs(retries, fruitless) * (0.5 + Math.random() / 2);
    await delay(pauseMs, undefined, of.signal === undefined ? {} : { signal: of.signal });
  }
}

function isFinal(error: IronflowApiError): boolean {
  return error.status >= 400 && error.status < 500 && error.status !== 429;
}

function lost(cause: unknown): IronflowApiError {
  if (cause instanceof IronflowApiError) return cause;
  return new IronflowApiError({
    status: 0,
    code: 'unreachable',
    message: 'the stream of the run broke off',
    cause,
  });
}
