/** One OTLP/HTTP request over a connection that is kept. Node's client, because `fetch` costs three times the CPU. */
import * as http from 'node:http';
import * as https from 'node:https';

/** `unavailable` is worth another attempt, `refused` is not. */
export type ExportOutcome = 'sent' | 'refused' | 'unavailable';

export interface SpanExporter {
  post(body: string): Promise<ExportOutcome>;
  close(): void;
}

/** What the OTLP specification calls retryable. */
const retryableStatuses = new Set([429, 502, 503, 504]);
const idleTimeoutMs = 5_000;

/** `endpoint` is the base URL; its path, if any, is kept. */
export function createSpanExporter(endpoint: string, signal: AbortSignal): SpanExporter {
  const url = new URL(`${endpoint.replace(/\/+$/, '')}/v1/traces`);
  const client = url.protocol === 'https:' ? https : http;
  const agent = new client.Agent({ keepAlive: true, maxSockets: 1 });

  function post(body: string): Promise<ExportOutcome> {
    return new Promise((resolve) => {
      const bytes = Buffer.from(body);
      const headers = { 'content-type': 'application/json', 'content-length': bytes.length };
      const request = client.request(url, { method: 'POST', agent, headers, signal }, (response) => {
        // Read to the end so that the connection can be used again.
        response.resume();
        response.on('end', () => resolve(outcomeOf(response.statusCode ?? 0)));
      });
      request.setTimeout(idleTimeoutMs, () => request.destroy());
      request.on('error', () => resolve('unavailable'));
      // Changes nothing after an answer: a promise settles once.
      request.on('close', () => resolve('unavailable'));
      request.end(bytes);
    });
  }

  return { post, close: () => agent.destroy() };
}

function outcomeOf(status: number): ExportOutcome {
  if (retryableStatuses.has(status)) return 'unavailable';
  return status >= 200 && status < 300 ? 'sent' : 'refused';
}
