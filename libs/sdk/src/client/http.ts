/** Calls of the platform's HTTP API: authorised, bounded in time, repeated where that is safe. */
import { setTimeout as delay } from 'node:timers/promises';
import { errorBodySchema } from '@ironflow/schema';
import { backoffMs } from '@ironflow/retry-policy';
import { IronflowApiError } from './api-error.js';

export interface HttpRequest {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Below the platform's URL, from `/v1`. */
  path: string;
  query?: Readonly<Record<string, string | number | undefined>>;
  /** JSON text. */
  body?: string;
  headers?: Readonly<Record<string, string>>;
  /** How long the platform may take beyond the usual. */
  waitMs?: number;
  signal?: AbortSignal | undefined;
}

export interface Http {
  /** Every request is idempotent (emits carry keys): repeated when the platform is busy, restarting or out of reach. */
  json<Answer>(request: HttpRequest): Promise<Answer>;
  /** One attempt: what it makes is shown once, and a second one would be nobody's. */
  once<Answer>(request: HttpRequest): Promise<Answer>;
  /** One attempt; the answer's head has come and is a success. */
  open(request: HttpRequest): Promise<Response>;
}

const timeoutMs = 30_000;
const retries = { attempts: 5, initialDelayMs: 100, factor: 3, maxDelayMs: 5_000 };
/** Waiting longer than this for a busy platform is the caller's business. */
const retryAfterMsMax = 10_000;

export function createHttp(platform: { url: string; apiKey: string }): Http {
  const open = async (request: HttpRequest, signals: AbortSignal[]): Promise<Response> => {
    const headers = {
      authorization: `Bearer ${platform.apiKey}`,
      ...(request.body === undefined ? {} : { 'content-type': 'application/json' }),
      ...request.headers,
    };
    const signal = AbortSignal.any(request.signal === undefined ? signals : [...signals, request.signal]);
    let response: Response;
    try {
      response = await fetch(platform.url + request.path + queryOf(request), {
        method: request.method,
        headers,
        signal,
        ...(request.body === undefined ? {} : { body: request.body }),
      });
    } catch (cause) {
      if (request.signal?.aborted === true) throw cause;
      throw unreachable(platform.url, cause);
    }
    if (!response.ok) throw await refusal(response);
    return response;
  };
  const attempt = async <Answer>(request: HttpRequest): Promise<Answer> => {
    const response = await open(request, [AbortSignal.timeout(timeoutMs + (request.waitMs ?? 0))]);
    try {
      return (await response.json()) as Answer;
    } catch (cause) {
      if (request.signal?.aborted === true) throw cause;
      throw unreachable(platform.url, cause);
    }
  };
  return {
    once: attempt,
    open: (request) => open(request, []),
    async json<Answer>(request: HttpRequest): Promise<Answer> {
      for (let number = 1; ; number += 1) {
        try {
          return await attempt<Answer>(request);
        } catch (thrown) {
          const pauseMs = number < retries.attempts ? pauseBeforeRetry(thrown, number) : undefined;
          if (pauseMs === undefined) throw thrown;
          await delay(pauseMs, undefined, {
            ...(request.signal === undefined ? {} : { signal: request.signal }),
          });
        }
      }
    },
  };
}

function pauseBeforeRetry(thrown: unknown, attempt: number): number | undefined {
  if (!(thrown instanceof IronflowApiError)) return undefined;
  const passing =
    thrown.status === 0 || thrown.status === 502 || thrown.status === 503 || thrown.status === 504;
  if (!passing && thrown.status !== 429) return undefined;
  const jittered = backoffMs(retries, attempt) * (0.5 + Math.random() / 2);
  const asked = thrown.retryAfterMs ?? 0;
  return asked > retryAfterMsMax ? undefined : Math.max(asked, jittered);
}

function queryOf(request: HttpRequest): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(request.query ?? {})) {
    if (value !== undefined) query.set(name, String(value));
  }
  return query.size === 0 ? '' : `?${query.toString()}`;
}

async function refusal(response: Response): Promise<IronflowApiError> {
  const text = await response.text().catch(() => '');
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN);
  const head = {
    status: response.status,
    ...(Number.isFinite(seconds) ? { retryAfterMs: Math.max(0, seconds * 1_000) } : {}),
  };
  const parsed = errorBodySchema.safeParse(parseJson(text));
  if (parsed.success) return new IronflowApiError({ ...head, ...parsed.data.error });
  return new IronflowApiError({
    ...head,
    code: 'unexpected_answer',
    message: `the platform answered ${response.status}`,
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function unreachable(url: string, cause: unknown): IronflowApiError {
  return new IronflowApiError({ status: 0, code: 'unreachable', message: `no answer from ${url}`, cause });
}
