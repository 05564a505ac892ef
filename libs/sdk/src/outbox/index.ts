/** `@ironflow/sdk/outbox`: events that are emitted if, and only if, a transaction of yours commits. */
export { createOutbox } from './outbox.js';
export type { Outbox, OutboxEvent, OutboxOptions, OutboxTransaction } from './outbox.js';
export { outboxSchema } from './outbox-table.js';
export type { OutboxClient, OutboxPool, Relay, RelayOptions } from './relay.js';
