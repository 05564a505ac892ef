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
import type { JetStreamLog } from './log.js';
import type { Provisioner } from './provisioner.js';

export interface ConsumerOptions {
  connection: Connection;
  provisioner: Provisioner;
  definition: ConsumerDefinition;
  /** How many messages the owner could take now; what comes beyond it is put back. */
  capacity: () => number;
  /** How many of them it wants; asked before every request. All, by default. */
  wanted?: () => number;
  /** Synchronous: what takes time is started, not awaited. A message whose handling throws is delivered again. */
  onDelivery: (delivery: Delivery) => void;
  /** A message came that was delivered before, to whomever. */
  onRedelivery?: ((definition: ConsumerDefinition) => void) | undefined;
  log?: JetStreamLog;
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
const retryDelayMsMin = 50;
const retryDelayMsMax = 1_000;
const batchMax = 2_000;
const unreadableDelayMs = 5_000;
/** Put back without delay, it would come at once through the request that is still open. */
const beyondRoomDelayMs = 50;
/** Before asking again after a refusal that is neither "nothing there" nor "no such consumer". */
const refusedDelayMs = 100;

export function createConsumer(options: ConsumerOptions): PullConsumer {
  const { connection, definition } = options;
  const inbox = createInbox();
  const requestSubject = `$JS.API.CONSUMER.MSG.NEXT.${definition.stream}.${definition.durable}`;
  let outstanding = 0;
  let heardAtMs = performance.now();
  let scheduled = false;
  let stopped = false;

  const ask = (): void => {
    scheduled = false;
    if (stopped || recovery.isRunning() || !connection.isConnected()) return;
    const room = Math.min(options.capacity(), options.wanted?.() ?? Infinity);
    const wanted = Math.min(room - outstanding, batchMax);
    // Small requests are saved up while others are still open: a quarter of what one can have at a time.
    if (wanted < 1 || (outstanding > 0 && wanted < Math.min(room, batchMax) / 4)) return;
    if (outstanding === 0) heardAtMs = performance.now();
    outstanding += wanted;
    connection.publish({ subject: requestSubject, data: pullRequest(wanted), reply: inbox });
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
  const recovery = createRecovery(options, forget);
  const onStatus = (code: number, message: Msg): void => {
    if (code === 100) return;
    const givenBack = Number(message.headers?.get('Nats-Pending-Messages') ?? '');
    const description = message.headers?.description ?? '';
    if (code === 503 || (code === 409 && /consumer deleted|consumer is push/i.test(description))) {
      if (!stopped) recovery.start();
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
    if (delivery.deliveryCount > 1) options.onRedelivery?.(definition);
    if (!canRead(delivery.header(headerNames.schemaVersion))) delivery.nak(unreadableDelayMs);
    else if (options.capacity() < 1) delivery.nak(beyondRoomDelayMs);
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

function pullRequest(batch: number): string {
  return JSON.stringify({ batch, expires: expiresMs * 1e6, idle_heartbeat: heartbeatMs * 1e6 });
}

/** Makes what is missing, once at a time and at longer intervals as long as that fails, and says when to ask again. */
function createRecovery(
  { provisioner, definition, log }: ConsumerOptions,
  onTried: () => void,
): { isRunning(): boolean; start(): void } {
  let running = false;
  let retryDelayMs = retryDelayMsMin;
  const recover = async (): Promise<void> => {
    try {
      await provisioner.ensure();
      await provisioner.ensureConsumer(definition);
      retryDelayMs = retryDelayMsMin;
    } catch (error) {
      log?.warn(`consumer ${definition.durable} cannot be made: ${messageOf(error)}`);
      retryDelayMs = Math.min(retryDelayMs * 2, retryDelayMsMax);
    }
    setTimeout(() => {
      running = false;
      onTried();
    }, retryDelayMs).unref();
  };
  return {
    isRunning: () => running,
    start: () => {
      if (running) return;
      running = true;
      void recover();
    },
  };
}
