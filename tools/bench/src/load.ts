/** Closed-loop load: so many clients, each with one request open at a time. */
import { Client } from 'undici';

export interface LoadOptions {
  /** The clients take them in turn. */
  urls: string[];
  apiKey: string;
  clients: number;
  seconds: number;
  /** The body of the nth request. */
  body: (n: number) => string;
  /** Whether an answer is what it should be. */
  check: (answer: unknown) => boolean;
}

export interface LoadResult {
  requests: number;
  failures: number;
  perSecond: number;
  p50Ms: number;
  p95Ms: number;
  p99Ms: number;
}

export async function runLoad(options: LoadOptions): Promise<LoadResult> {
  const latencies: number[] = [];
  let failures = 0;
  let sent = 0;
  const startedMs = performance.now();
  const endMs = startedMs + options.seconds * 1_000;
  const client = async (url: URL): Promise<void> => {
    const connection = new Client(url.origin);
    while (performance.now() < endMs) {
      const beganMs = performance.now();
      sent += 1;
      const { status, text } = await post(connection, url, options.apiKey, options.body(sent));
      if (status >= 300 || !options.check(JSON.parse(text))) failures += 1;
      else latencies.push(performance.now() - beganMs);
    }
    await connection.close();
  };
  const { urls, clients } = options;
  await Promise.all(Array.from({ length: clients }, (_, n) => client(new URL(urls[n % urls.length]!))));
  const seconds = (performance.now() - startedMs) / 1_000;
  latencies.sort((a, b) => a - b);
  return {
    requests: sent,
    failures,
    perSecond: Math.round(latencies.length / seconds),
    p50Ms: quantile(latencies, 0.5),
    p95Ms: quantile(latencies, 0.95),
    p99Ms: quantile(latencies, 0.99),
  };
}

/**
 * By undici's own events: its `request` makes a stream of every answer, which costs the machine that is being measured twice
 * as much.
 */
function post(
  connection: Client,
  { pathname, search }: URL,
  apiKey: string,
  body: string,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    let status = 0;
    const chunks: Buffer[] = [];
    connection.dispatch(
      {
        path: `${pathname}${search}`,
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${apiKey}` },
        body,
      },
      {
        onRequestStart: () => undefined,
        onResponseStart: (_controller, statusCode) => void (status = statusCode),
        onResponseData: (_controller, chunk) => void chunks.push(chunk),
        onResponseEnd: () => resolve({ status, text: Buffer.concat(chunks).toString() }),
        onResponseError: (_controller, error) => reject(error),
      },
    );
  });
}

export function quantile(sorted: readonly number[], share: number): number {
  const value = sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
  return Math.round(value * 100) / 100;
}
