/** What a client does to the platform over HTTP: each request again, under the same key, until it has been answered. */
import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';

export interface Answer {
  status: number;
  body: unknown;
}

export interface Requester {
  /** Until a status that is final: not that of a platform which is out of reach. `again` names others to be patient with. */
  send(request: Request, again?: (answer: Answer) => boolean): Promise<Answer>;
  /** How often a request was refused or not answered, by status. */
  readonly refusals: Record<string, number>;
}

export interface Request {
  method: 'GET' | 'POST' | 'PUT';
  path: string;
  body?: unknown;
  /** Of a page, as who has no key sends it. */
  form?: Record<string, string>;
  /** As a provider sends a webhook. */
  delivery?: { text: string; headers: Record<string, string> };
}

/** A replica that is paused takes requests and answers none. */
const answeredWithinMs = 4_000;
const pauseMs = 200;
/** Longer than any outage that is injected. */
const givenUpAfterMs = 300_000;

export function createRequester(platform: { url: string; apiKey: string }): Requester {
  const refusals: Record<string, number> = {};
  const attempt = async (request: Request): Promise<Answer | string> => {
    try {
      const response = await fetch(platform.url + request.path, {
        method: request.method,
        ...contentOf(request, platform.apiKey),
        signal: AbortSignal.timeout(answeredWithinMs),
      });
      const text = await response.text();
      if (response.status >= 500 || response.status === 429) return `status ${response.status}`;
      return { status: response.status, body: request.form === undefined ? JSON.parse(text) : text };
    } catch {
      return 'no answer';
    }
  };
  return {
    refusals,
    send: async (request, again = () => false) => {
      const deadlineMs = performance.now() + givenUpAfterMs;
      for (;;) {
        const answer = await attempt(request);
        if (typeof answer !== 'string' && !again(answer)) return answer;
        if (typeof answer === 'string') refusals[answer] = (refusals[answer] ?? 0) + 1;
        if (performance.now() > deadlineMs) {
          const last = typeof answer === 'string' ? answer : `status ${answer.status}`;
          throw new Error(`${request.method} ${request.path} was not taken: ${last}`);
        }
        await delay(pauseMs);
      }
    },
  };
}

function contentOf({ body, form, delivery }: Request, apiKey: string): Pick<RequestInit, 'headers' | 'body'> {
  if (form !== undefined) return { body: new URLSearchParams(form) };
  if (delivery !== undefined) {
    const headers = { 'content-type': 'application/json', ...delivery.headers };
    return { headers, body: delivery.text };
  }
  const authorization = `Bearer ${apiKey}`;
  if (body === undefined) return { headers: { authorization } };
  return { headers: { authorization, 'content-type': 'application/json' }, body: JSON.stringify(body) };
}

/** A UUID that is the same for the same text. */
export function uuidOf(text: string): string {
  const hex = createHash('sha256').update(text).digest('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
