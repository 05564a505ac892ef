/** Quotas where requests are answered: asks the pure guard with what the book knows, and refuses with `quota_exceeded`. No I/O for a request. */
import { createQuotaStore } from '@ironflow/database';
import type { Database } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import { countReplicas } from '@ironflow/jetstream';
import type { JetStream } from '@ironflow/jetstream';
import { defaultQuotas } from '@ironflow/schema';
import type { QuotaName } from '@ironflow/schema';
import type { Clock } from './clock.js';
import type { HttpApp } from './http.js';
import type { Stoppable } from './lifecycle.js';
import type { Metrics } from './metrics.js';
import { createQuotaBook } from './quota-book.js';
import { askEvents, askRequest } from './quota-guard.js';
import type { QuotaVerdict } from './quota-guard.js';

export interface QuotasOptions {
  /** As in `$SRV`: its replicas share the rates. */
  service: string;
  database: Pick<Database, 'inEnvironment'>;
  jetstream: Pick<JetStream, 'connection' | 'notices'>;
  metrics: Metrics;
  clock: Clock;
}

export interface QuotaKeeper extends Stoppable {
  /** Throws `quota_exceeded`. `data` is JSON text. */
  takeEvents(environmentId: string, events: readonly { data: string }[]): void;
  /** Throws `quota_exceeded`. */
  takeRequest(environmentId: string): void;
  start(): void;
  stop(): Promise<void>;
}

export function createQuotaKeeper(options: QuotasOptions): QuotaKeeper {
  const { jetstream, clock } = options;
  const refused = options.metrics.counter('quota_refusals_total', 'Requests beyond a quota, by its name', [
    'quota',
  ]);
  const book = createQuotaBook({
    store: createQuotaStore(options.database),
    countReplicas: () => countReplicas(jetstream.connection, options.service),
    clock,
  });
  let stopListening: (() => void) | undefined;

  function admitted(verdict: QuotaVerdict): number {
    if (verdict.kind === 'in') return verdict.nextAtMs;
    refused.add(1, { quota: verdict.quota });
    throw quotaExceeded(verdict.quota, verdict.retryAfterSeconds);
  }

  return {
    takeEvents: (environmentId, events) => {
      const known = book.of(environmentId);
      // By default it is what is refused anyway.
      const isNarrowed = known.quotas.payloadBytes < defaultQuotas.payloadBytes;
      const bytesMax = isNarrowed ? largestOf(events) : 0;
      const situation = { ...known, replicas: book.replicas, atMs: clock.now() };
      const asked = { count: events.length, bytesMax };
      known.eventsNextAtMs = admitted(askEvents(situation, known.eventsNextAtMs, asked));
    },
    takeRequest: (environmentId) => {
      const known = book.of(environmentId);
      const situation = { quotas: known.quotas, replicas: book.replicas, atMs: clock.now() };
      known.requestsNextAtMs = admitted(askRequest(situation, known.requestsNextAtMs));
    },
    start: () => {
      stopListening = jetstream.notices.onQuotas(({ scope }) => book.forget(scope.environmentId));
    },
    stop: async () => {
      stopListening?.();
      await book.settle();
    },
  };
}

/** For the routes of this scope: each request with a key counts, before its body is read. */
export function watchQuotas(app: HttpApp, quotas: Pick<QuotaKeeper, 'takeRequest'>): void {
  app.addHook('preParsing', async (request) => {
    if (request.principal !== null) quotas.takeRequest(request.principal.scope.environmentId);
  });
}

function largestOf(events: readonly { data: string }[]): number {
  let bytesMax = 0;
  for (const { data } of events) bytesMax = Math.max(bytesMax, Buffer.byteLength(data));
  return bytesMax;
}

function quotaExceeded(quota: QuotaName, retryAfterSeconds: number | undefined): IronflowError {
  const message = `the environment’s quota ${quota} is used up`;
  if (retryAfterSeconds === undefined) {
    return new IronflowError('too_large', 'quota_exceeded', `${message}: an event is larger`, {
      field: 'data',
    });
  }
  return new IronflowError('too_many', 'quota_exceeded', message, { retryAfterSeconds });
}
