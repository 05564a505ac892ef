/** Closed-loop load: so many clients, each with one request open at a time. */
import { Agent, request } from 'undici';

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
  const agent = new Agent({ connections: options.clients, pipelining: 1 });
  const latencies: number[] = [];
  let failures = 0;
  let sent = 0;
  const startedMs = performance.now();
  const endMs = startedMs + options.seconds * 1_000;
  const client = async (url: string): Promise<void> => {
    while (performance.now() < endMs) {
      const beganMs = performance.now();
      sent += 1;
      const answer = await request(url, {
        dispatcher: agent,
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${options.apiKey}` },
        body: options.body(sent),
      });
      const body: unknown = await answer.body.json();
      if (answer.statusCode >= 300 || !options.check(body)) failures += 1;
      else latencies.push(performance.now() - beganMs);
    }
  };
  const { urls, clients } = options;
  await Promise.all(Array.from({ length: clients }, (_, n) => client(urls[n % urls.length]!)));
  const seconds = (performance.now() - startedMs) / 1_000;
  await agent.close();
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

function quantile(sorted: number[], share: number): number {
  const value = sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
  return Math.round(value * 100) / 100;
}
