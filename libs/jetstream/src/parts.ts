/** What stands on a connection and nothing else: for the simulation, which brings a server in memory. */
export type { Connection, OutgoingMessage, Reply } from './connection.js';
export { createJournal } from './journal.js';
export { createNotices } from './notices.js';
export { createPublisher } from './publisher.js';
export { createStreamStates } from './stream-state.js';
export { createTopics } from './topics.js';
export { createUserBuckets } from './user-buckets.js';
