/**
 * A pull consumer that asks for exactly as many messages as its owner has room for. The client's own `consume()` buffers
 * a fixed number ahead of the reader, which would hold activations that nobody works on.
 *
 * C1 `outstanding` counts what was asked for and has neither come nor been given back. It is never below the truth for
 *    longer than one heartbeat: a lost request is noticed by silence and by reconnects.
 * C2 The owner never holds more than its room: what comes beyond it, after an open request was thought lost, is put back.
 * C3 A missing consumer or stream is provisioned and asked again; nothing has to be restarted after a wipe.
 */
import { createInbox } from '@nats-io/transport-node';
import type { Msg } from '@nats-io/transport-node';
import { messageOf } from '@ironflow/errors';
import { canRead, headerNames } from '@ironflow/schema';
import type { ConsumerDefinition } from '@ironflow/schema';
import type { Connection } from './connection.js';
import { toDelivery } from './delivery.js';
import type { Delivery } from './delivery.js';
import type { Provisioner } from './provisioner.js';

export interface ConsumerOptions {
  connection: Connection;
  provisioner: Provisioner;
  definition: ConsumerDefinition;
  /** How many messages the owner could take now; asked before every request. */
  capacity: () => number;
  /** Synchronous: what takes time is started, not awaited. A message whose handling throws is delivered again. */
  onDelivery: (delivery: Delivery) => void;
  log?: (message: string) => void;
}

export interface PullConsumer {
  /** The owner has room again. */
  wake(): void;
  /** Takes nothing new; what was delivered stays the owner's to answer. */
  stop(): void;
}

const expiresMs = 5_000;
const heartbeatMs = 2_000;
/** Two heartbeats missed and a little: the request is gone. */
const silenceMs = 2 * heartbeatMs + 500;
const retryDelayMsMax = 1_000;
const batchMax = 2_000;
const unreadableDelayMs = 5_000;
/** Before asking again after a refusal that is neither "nothing there" nor "no such consumer". */
const refusedDelayMs = 100;

export function createConsumer(options: ConsumerOptions): PullConsumer {
  const { connection, definition } = options;
  const inbox = createInbox();
  const requestSubject = `$JS.API.CONSUMER.MSG.NEXT.${definition.stream}.${definition.durable}`;
  let outstanding = 0;
  let heardAtMs = performance.now();
  let retryDelayMs = 50;
  let scheduled = false;
  let blocked = false;
  let stopped = false;

  const ask = (): void => {
    scheduled = false;
    if (stopped || blocked || connection.nats.isClosed()) return;
    const room = options.capacity();
    const wanted = Math.min(room - outstanding, batchMax);
    // Small requests are saved up while others are still open: a quarter of the room at a time.
    if (wanted < 1 || (outstanding > 0 && wanted < room / 4)) return;
    if (outstanding === 0) heardAtMs = performance.now();
    outstanding += wanted;
    const body = { batch: wanted, expires: expiresMs * 1e6, idle_heartbeat: heartbeatMs * 1e6 };
    connection.nats.publish(requestSubject, JSON.stringify(body), { reply: inbox });
  };
  const wake = (): void => {
    if (scheduled || stopped) return;
    scheduled = true;
    setImmediate(ask);
  };
  const forget = (): void => {
    outstanding = 0;
    wake();
  };
  const recover = async (): Promise<void> => {
    if (blocked || stopped) return;
    blocked = true;
    try {
      await options.provisioner.ensure();
      await options.provisioner.ensureConsumer(definition);
      retryDelayMs = 50;
    } catch (error) {
      options.log?.(`consumer ${definition.durable} cannot be made: ${messageOf(error)}`);
      retryDelayMs = Math.min(retryDelayMs * 2, retryDelayMsMax);
    }
    setTimeout(() => {
      blocked = false;
      forget();
    }, retryDelayMs).unref();
  };
  const onStatus = (code: number, message: Msg): void => {
    if (code === 100) return;
    const givenBack = Number(message.headers?.get('Nats-Pending-Messages') ?? '');
    const description = message.headers?.description ?? '';
    if (code === 503 || (code === 409 && /consumer deleted|consumer is push/i.test(description))) {
      void recover();
    } else {
      // 408 expired, 404 nothing there; 409 leadership changed, server shutting down, too many requests.
      outstanding = givenBack > 0 ? Math.max(0, outstanding - givenBack) : 0;
      if (code === 408 || code === 404) wake();
      else setTimeout(wake, refusedDelayMs).unref();
    }
  };
  const onMessage = (message: Msg): void => {
    heardAtMs = performance.now();
    const delivery = toDelivery(connection, message);
    if (delivery === undefined) {
      onStatus(message.headers?.code ?? 0, message);
      return;
    }
    outstanding = Math.max(0, outstanding - 1);
    if (!canRead(delivery.header(headerNames.schemaVersion))) delivery.nak(unreadableDelayMs);
    else if (options.capacity() < 1) delivery.nak();
    else options.onDelivery(delivery);
    if (outstanding === 0) wake();
  };

  const stopHearing = connection.listen(inbox, onMessage);
  const stopListening = connection.onReconnect(forget);
  const watchdog = setInterval(() => {
    if (outstanding > 0 && performance.now() - heardAtMs > silenceMs) forget();
    else wake();
  }, 1_000).unref();
  wake();
  return {
    wake,
    stop: () => {
      stopped = true;
      clearInterval(watchdog);
      stopListening();
      // Put back, they are somebody else's at once and not after the ack wait.
      stopHearing((message) => toDelivery(connection, message)?.nak());
    },
  };
}
