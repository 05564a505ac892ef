export { connectAccountResolver } from './account-resolver.js';
export type { AccountResolver } from './account-resolver.js';
export type { Bucket, BucketEntry } from './bucket.js';
export { connectNats } from './connection.js';
export type { Connection, ConnectionOptions, ConnectionStatus } from './connection.js';
export type { PullConsumer } from './consumer.js';
export type { Delivery } from './delivery.js';
export { announceService, countReplicas } from './discovery.js';
export type { ServiceIdentity } from './discovery.js';
export { purgeEnvironment } from './environment-purge.js';
export { findUnknownAccounts, inspectNats } from './inspection.js';
export type {
  ClockReading,
  JetStreamInspection,
  NatsInspection,
  NatsInspectionOptions,
  NatsServerFacts,
  ProbeOutcome,
  StreamFacts,
} from './inspection.js';
export { connectJetStream } from './jetstream.js';
export type { JetStream, JetStreamOptions } from './jetstream.js';
export type { AppendRequest, AppendResult, Journal } from './journal.js';
export { JournalTooNewError, JournalUnreadableError } from './journal-reader.js';
export type { StoredJournalMessage } from './journal-reader.js';
export type { JetStreamLog } from './log.js';
export { archiveEnd, decodeMessages, encodeMessage } from './message-archive.js';
export type { StoredMessage } from './message-archive.js';
export type { Notices } from './notices.js';
export type { Provisioner } from './provisioner.js';
export type { Publication, Publisher, PublishResult } from './publisher.js';
export type { StoredTopicMessage, Topics } from './topics.js';
export { findStream, listStreams, removeStream } from './stream-catalog.js';
export type { StreamSummary } from './stream-catalog.js';
export { readStream } from './stream-reader.js';
export { isHalfRestored, loadStream, requireRestoringServer, settleStream } from './stream-restore.js';
export type { RestoreRequest } from './stream-restore.js';
export type { ConsumerState, NamedConsumerState, StreamState, StreamStates } from './stream-state.js';
export type {
  PutOutcome,
  UserBucket,
  UserBucketChange,
  UserBuckets,
  UserBucketSettings,
} from './user-buckets.js';
