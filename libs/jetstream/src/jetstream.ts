/** The door: one connection with everything that services do over it, provisioned and ready. */
import type { BucketName, ConsumerDefinition } from '@ironflow/schema';
import { openBucket } from './bucket.js';
import type { Bucket } from './bucket.js';
import { connectNats } from './connection.js';
import type { Connection, ConnectionOptions } from './connection.js';
import { createConsumer } from './consumer.js';
import type { ConsumerOptions, PullConsumer } from './consumer.js';
import { createJournal } from './journal.js';
import type { Journal } from './journal.js';
import { createNotices } from './notices.js';
import type { Notices } from './notices.js';
import { createProvisioner } from './provisioner.js';
import type { ProvisionOptions, Provisioner } from './provisioner.js';
import { createPublisher } from './publisher.js';
import type { Publisher } from './publisher.js';
import { createStreamStates } from './stream-state.js';
import type { StreamStates } from './stream-state.js';
import { createUserBuckets } from './user-buckets.js';
import type { UserBuckets } from './user-buckets.js';
import { createTopics } from './topics.js';
import type { Topics } from './topics.js';

export interface JetStreamOptions
  extends ConnectionOptions, ProvisionOptions, Pick<ConsumerOptions, 'onRedelivery'> {}

export interface JetStream {
  readonly connection: Connection;
  readonly provisioner: Provisioner;
  readonly publisher: Publisher;
  readonly journal: Journal;
  readonly notices: Notices;
  readonly topics: Topics;
  readonly states: StreamStates;
  readonly userBuckets: UserBuckets;
  bucket(name: BucketName): Bucket;
  consume(
    definition: ConsumerDefinition,
    owner: Pick<ConsumerOptions, 'capacity' | 'wanted' | 'onDelivery'>,
  ): PullConsumer;
  isConnected(): boolean;
  close(): Promise<void>;
}

export async function connectJetStream(options: JetStreamOptions): Promise<JetStream> {
  const connection = await connectNats(options);
  const provisioner = createProvisioner(connection, options);
  await provisioner.ensure();
  const onNoStream = (): void => provisioner.request();
  const publisher = createPublisher(connection, onNoStream);
  return {
    connection,
    provisioner,
    publisher,
    journal: createJournal({ connection, publisher, onNoStream, log: options.log }),
    notices: createNotices(connection),
    topics: createTopics({ connection, publisher, onNoStream }),
    states: createStreamStates(connection),
    userBuckets: createUserBuckets({
      connection,
      // One that is missing is its owner's to make again.
      publisher: createPublisher(connection, () => undefined),
      replicas: options.replicas,
    }),
    bucket: (name) => openBucket({ connection, provisioner, name, log: options.log }),
    consume: (definition, owner) =>
      createConsumer({
        connection,
        provisioner,
        definition,
        ...owner,
        onRedelivery: options.onRedelivery,
        ...(options.log && { log: options.log }),
      }),
    isConnected: () => connection.isConnected(),
    close: () => connection.close(),
  };
}
