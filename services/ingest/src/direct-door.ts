/**
 * The door for tenants with credentials for NATS: what they publish below their own subject is put into INGEST, and answered as
 * JetStream does.
 * 1. No header of a tenant reaches JetStream unread: it would obey them, and a message id counts for all tenants of a stream. Only
 *    those of an event pass, and the id becomes the environment's own idempotency key.
 * 2. The subject is what the account of an environment is allowed: whose an event is says nothing else.
 * 3. An environment has a bounded number of messages in hand, so that a flood of one is refused and delays nobody; its quotas of events
 *    are asked as they are by HTTP.
 */
import type { IngestStore } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import type { JetStream, PublishResult } from '@ironflow/jetstream';
import { headerNames, parseSubject, reservedEventPrefix, subjectFilters, subjects } from '@ironflow/schema';
import type { Scope } from '@ironflow/schema';
import type { Metrics, QuotaKeeper, Stoppable } from '@ironflow/service';

export interface DirectDoorOptions {
  jetstream: Pick<JetStream, 'connection' | 'publisher'>;
  store: Pick<IngestStore, 'scopeAt'>;
  quotas: Pick<QuotaKeeper, 'takeEvents'>;
  metrics: Metrics;
  /** Of one environment, in this process. */
  inHandMax?: number;
}

export interface DirectDoor extends Stoppable {
  start(): void;
}

interface DirectMessage {
  subject: string;
  data: Uint8Array;
  headers?: { get(name: string): string } | undefined;
  reply?: string | undefined;
}

type Place = Pick<Scope, 'project' | 'env'>;

/** As JetStream answers a publisher; its clients know what to make of it. */
type Acknowledgement =
  | { stream: 'INGEST'; seq: number; duplicate?: true }
  | { stream: 'INGEST'; seq: 0; error: { code: number; err_code?: number; description: string } };

const queue = 'ingest';
const inHandMaxDefault = 500;
const passedOn = [
  headerNames.traceparent,
  headerNames.correlationId,
  headerNames.causationId,
  headerNames.eventVersion,
];

export function createDirectDoor(options: DirectDoorOptions): DirectDoor {
  const { connection, publisher } = options.jetstream;
  const inHandMax = options.inHandMax ?? inHandMaxDefault;
  const inHand = new Map<string, number>();
  const under = new Set<Promise<void>>();
  let stopListening: ((late: (message: DirectMessage) => void) => void) | undefined;
  const taken = options.metrics.counter(
    'ingest_direct_messages_total',
    'Messages of tenants with credentials for NATS, by what became of them',
    ['outcome'],
  );

  function answer(message: DirectMessage, acknowledgement: Acknowledgement): void {
    taken.add(1, { outcome: 'error' in acknowledgement ? 'refused' : 'taken' });
    if (message.reply) connection.publish({ subject: message.reply, data: JSON.stringify(acknowledgement) });
  }

  /** Why it is not taken now. */
  async function beyondQuota(message: DirectMessage, place: Place): Promise<string | undefined> {
    // While Postgres is away whose it is may be unknown, and it is taken: events of nobody's are dead letters later.
    const scope = await options.store.scopeAt(place).catch(() => undefined);
    if (scope === undefined) return undefined;
    try {
      options.quotas.takeEvents(scope.environmentId, [textOf(message)]);
      return undefined;
    } catch (error) {
      if (error instanceof IronflowError && error.code === 'quota_exceeded') return error.message;
      throw error;
    }
  }

  async function pass(message: DirectMessage, place: Place, eventName: string): Promise<void> {
    const refused = await beyondQuota(message, place);
    if (refused !== undefined) return answer(message, refusal(429, refused));
    const subject = subjects.ingest(place, eventName);
    const result = await publisher
      .publish({ subject, data: message.data, headers: headersOf(message) })
      // What can never be sent, such as a header with a line break in it.
      .catch(() => ({ kind: 'refused', code: 400, reason: 'the message cannot be stored' }) as const);
    answer(message, acknowledge(result));
  }

  function onMessage(message: DirectMessage): void {
    const place = parseSubject(message.subject);
    if (place?.kind !== 'directIngest')
      return answer(message, refusal(400, 'the subject is none of an event'));
    if (place.eventName.startsWith(reservedEventPrefix)) {
      return answer(message, refusal(400, `names that begin with ${reservedEventPrefix} are the platform's`));
    }
    const environment = `${place.project}.${place.env}`;
    const count = inHand.get(environment) ?? 0;
    if (count >= inHandMax) return answer(message, refusal(503, 'too many at once: publish again later'));
    inHand.set(environment, count + 1);
    const work = pass(message, place, place.eventName).finally(() => {
      under.delete(work);
      const left = inHand.get(environment)! - 1;
      if (left === 0) inHand.delete(environment);
      else inHand.set(environment, left);
    });
    under.add(work);
  }

  return {
    start: () => {
      stopListening = connection.listen(subjectFilters.everyDirectIngested, onMessage, queue);
    },
    stop: async () => {
      // What was on its way to this process is nobody else's any more.
      stopListening?.(onMessage);
      await Promise.all(under);
    },
  };
}

/** Read where there is a quota of its length. */
function textOf({ data }: DirectMessage): { readonly data: string } {
  return {
    get data() {
      return Buffer.from(data).toString();
    },
  };
}

function headersOf({ headers }: DirectMessage): Record<string, string> {
  const valueOf = (name: string): string => headers?.get(name) ?? '';
  const key = valueOf(headerNames.idempotencyKey) || valueOf(headerNames.messageId);
  const given: [string, string][] = passedOn.map((name) => [name, valueOf(name)]);
  given.push([headerNames.idempotencyKey, key]);
  return Object.fromEntries(given.filter(([, value]) => value !== ''));
}

function acknowledge(result: PublishResult): Acknowledgement {
  switch (result.kind) {
    case 'stored':
      return { stream: 'INGEST', seq: result.sequence, ...(result.duplicate ? { duplicate: true } : {}) };
    case 'stream_full':
      return refusal(503, 'too many events wait to be stored: publish again later', 10_077);
    case 'refused':
      return refusal(400, result.reason, result.code);
    default:
      return refusal(503, 'perhaps not stored: publish again');
  }
}

function refusal(code: number, description: string, errorCode?: number): Acknowledgement {
  const error = { code, description, ...(errorCode === undefined ? {} : { err_code: errorCode }) };
  return { stream: 'INGEST', seq: 0, error };
}
