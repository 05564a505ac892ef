/** Server-sent events over as many connections as it takes: connects again when one breaks. */
import { setTimeout as delay } from 'node:timers/promises';
import { backoffMs } from '@ironflow/retry-policy';
import { IronflowApiError } from './api-error.js';
import type { Http, HttpRequest } from './http.js';
import { readEventStream } from './event-stream.js';
import type { ServerSentEvent } from './event-stream.js';

/** Of connections in a row that brought nothing new. */
const retries = { attempts: 8, initialDelayMs: 100, factor: 2, maxDelayMs: 5_000 };
/** The platform sends at least a comment this often; a silent connection is dead. */
const silenceMsMax = 45_000;
/** A connection may begin with what was known before: only one that lasted so long did well without anything new. */
const goodConnectionMs = 1_000;

export interface EventsRequest {
  http: Http;
  /** Of the next connection. */
  request: () => Pick<HttpRequest, 'path' | 'query'>;
  signal: AbortSignal | undefined;
  /** What is none is passed over. */
  isNews: (event: ServerSentEvent) => boolean;
}

/** The data of what is new. */
export async function* readEvents(of: EventsRequest): AsyncGenerator<string, void, undefined> {
  for (let fruitless = 1; ; fruitless += 1) {
    const openedAtMs = performance.now();
    const connection = new AbortController();
    const signal =
      of.signal === undefined ? connection.signal : AbortSignal.any([connection.signal, of.signal]);
    let silence = setTimeout(() => connection.abort(), silenceMsMax);
    let broke: unknown;
    let lived = false;
    try {
      const headers = { accept: 'text/event-stream' };
      const response = await of.http.open({ method: 'GET', ...of.request(), signal, headers });
      for await (const event of readEventStream(response.body)) {
        clearTimeout(silence);
        silence = setTimeout(() => connection.abort(), silenceMsMax);
        lived = performance.now() - openedAtMs > goodConnectionMs;
        if (!of.isNews(event)) continue;
        fruitless = 0;
        yield event.data;
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
  return new IronflowApiError({ status: 0, code: 'unreachable', message: 'the stream broke off', cause });
}
