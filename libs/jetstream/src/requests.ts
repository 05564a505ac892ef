/**
 * Requests over one inbox and one timer, because a promise, a subscription and a timer for each cost more than the request
 * itself (nc.request does 6–8 k/s, this five times as many). The two rules of connection.ts are kept here.
 */
import { createInbox } from '@nats-io/transport-node';
import type { Msg, NatsConnection } from '@nats-io/transport-node';
import { TurnoverMap } from '@ironflow/collections';
import { IronflowError, messageOf } from '@ironflow/errors';
import type { OutgoingMessage, Reply } from './connection.js';
import { withHeaders } from './header-block.js';

export interface Requests {
  send(message: OutgoingMessage): Promise<Reply>;
  /** The connection broke: what was sent is unanswered, what was not may still be. */
  abandon(): void;
  /** The connection is back. */
  sendUnsent(): void;
  /** Everything is unanswered from here on. */
  close(): void;
}

interface Pending {
  resolve: (reply: Reply) => void;
  reject: (refusal: IronflowError) => void;
  deadlineMs: number;
  /** Set until it is sent. */
  unsent?: OutgoingMessage;
}

const sweepIntervalMs = 250;
const pendingRequestsMax = 200_000;
const unanswered: Reply = { kind: 'unanswered' };

export function createRequests(
  nats: NatsConnection,
  timeoutMs: number,
  isConnected: () => boolean,
): Requests {
  const prefix = `${createInbox()}.`;
  const pending = createPendingRequests();
  let counter = 0;
  let closed = false;
  const subscription = nats.subscribe(`${prefix}*`, {
    callback: (error, message: Msg) =>
      pending.settle(message.subject.slice(prefix.length), replyOf(error, message)),
  });
  const sweep = setInterval(pending.expire, sweepIntervalMs).unref();
  const transmit = (key: string, message: OutgoingMessage): void => {
    try {
      nats.publish(message.subject, message.data, { reply: prefix + key, ...withHeaders(message) });
    } catch (thrown) {
      const refusal = refusalOf(thrown);
      if (refusal === undefined) pending.settle(key, unanswered);
      else pending.refuse(key, refusal);
    }
  };
  return {
    abandon: () => pending.settleWhere((request) => request.unsent === undefined),
    sendUnsent: () => pending.takeUnsent(transmit),
    send: (message) => {
      if (closed || nats.isClosed() || pending.count() >= pendingRequestsMax)
        return Promise.resolve(unanswered);
      return new Promise((resolve, reject) => {
        const key = (counter++).toString(36);
        const deadlineMs = performance.now() + timeoutMs;
        pending.add(key, { resolve, reject, deadlineMs, ...(isConnected() ? {} : { unsent: message }) });
        if (isConnected()) transmit(key, message);
      });
    },
    close: () => {
      closed = true;
      clearInterval(sweep);
      pending.settleWhere(() => true);
      if (!nats.isClosed()) subscription.unsubscribe();
    },
  };
}

function createPendingRequests() {
  const pending = new TurnoverMap<string, Pending>();
  const settle = (key: string, reply: Reply): void => {
    const request = pending.get(key);
    if (request === undefined) return;
    pending.delete(key);
    request.resolve(reply);
  };
  return {
    settle,
    refuse: (key: string, refusal: IronflowError): void => {
      pending.get(key)?.reject(refusal);
      pending.delete(key);
    },
    count: () => pending.size,
    add: (key: string, request: Pending) => void pending.set(key, request),
    settleWhere: (isMeant: (request: Pending) => boolean): void => {
      for (const [key, request] of pending) if (isMeant(request)) settle(key, unanswered);
    },
    /** Requests time out in the order in which they were made, so each sweep stops at the first that still has time. */
    expire: (): void => {
      const now = performance.now();
      for (const [key, request] of pending) {
        if (request.deadlineMs > now) return;
        settle(key, unanswered);
      }
    },
    takeUnsent: (transmit: (key: string, message: OutgoingMessage) => void): void => {
      for (const [key, request] of pending) {
        const message = request.unsent;
        if (message === undefined) continue;
        delete request.unsent;
        transmit(key, message);
      }
    },
  };
}

function replyOf(error: Error | null, message: Msg): Reply {
  if (error !== null || message.headers?.code === 503) return { kind: 'no_responders' };
  return { kind: 'message', data: message.data, headers: message.headers };
}

/** What can never be sent; anything else that the client throws is of this moment. */
function refusalOf(thrown: unknown): IronflowError | undefined {
  if (thrown instanceof IronflowError) return thrown;
  const reason = messageOf(thrown);
  if (!reason.includes('max_payload')) return undefined;
  return new IronflowError('too_large', 'message_refused', reason, { cause: thrown });
}
