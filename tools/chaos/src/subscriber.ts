/** Listens from outside to all that the load publishes, over as many connections as it takes. */
import { setTimeout as delay } from 'node:timers/promises';
import { createClient } from '@ironflow/sdk';
import { eventually } from '@ironflow/testing';
import type { HeardMessage } from './facts.js';

export interface Subscriber {
  readonly heard: readonly HeardMessage[];
  /** Publishes one more, and waits until it has been heard: what was published before it was heard before it. */
  finish(): Promise<void>;
  stop(): void;
}

const lastKey = 'the last one';
const heardWithinMs = 120_000;
const pauseMs = 500;

export function startSubscriber(platform: { url: string; apiKey: string }): Subscriber {
  const client = createClient({ ironflowUrl: platform.url, apiKey: platform.apiKey });
  const heard: HeardMessage[] = [];
  const stopping = new AbortController();
  const { signal } = stopping;
  const listen = async (): Promise<void> => {
    while (!signal.aborted) {
      try {
        const messages = client.topics.subscribe('chaos.>', { after: heard.at(-1)?.id ?? '0', signal });
        for await (const { id, data } of messages) heard.push({ id, key: (data as { key: string }).key });
      } catch {
        // Gave up on a platform that was out of reach for longer than usual.
        await delay(pauseMs);
      }
    }
  };
  void listen();
  return {
    heard,
    finish: async () => {
      const isHeard = async (): Promise<void> => {
        await client.topics.publish('chaos.end', { key: lastKey }, { idempotencyKey: lastKey });
        if (!heard.some(({ key }) => key === lastKey)) throw new Error('not heard yet');
      };
      // What was not heard is told by the oracle.
      await eventually(isHeard, { timeoutMs: heardWithinMs, intervalMs: pauseMs }).catch(() => undefined);
    },
    stop: () => stopping.abort(),
  };
}
