/** The consumer of push activations: as many at once as the executor may have calls open. */
import type { Delivery, JetStream, PullConsumer } from '@ironflow/jetstream';
import { consumers } from '@ironflow/schema';

export interface PushIntakeOptions {
  jetstream: Pick<JetStream, 'consume'>;
  concurrency: number;
  /** Drives one delivered activation to its end, and never rejects. */
  drive: (delivery: Delivery) => Promise<void>;
}

export interface PushIntake {
  start(): void;
  /** Takes nothing new; what is active goes on. */
  stop(): void;
}

export function createPushIntake(options: PushIntakeOptions): PushIntake {
  let active = 0;
  let consumer: PullConsumer | undefined;
  const take = async (delivery: Delivery): Promise<void> => {
    active += 1;
    await options.drive(delivery);
    active -= 1;
    consumer?.wake();
  };
  return {
    start: () => {
      consumer = options.jetstream.consume(consumers.pushExecutor, {
        capacity: () => options.concurrency - active,
        onDelivery: (delivery) => void take(delivery),
      });
    },
    stop: () => consumer?.stop(),
  };
}
