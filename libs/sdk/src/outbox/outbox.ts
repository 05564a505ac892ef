/** `createOutbox`: writes events into a table of yours, within a transaction of yours, and relays what was committed. */
import {
  brokenDataRule,
  brokenFieldRule,
  brokenTextRule,
  brokenTimeRule,
  dataTooDeep,
  describeIssue,
  emittedEventSchema,
  limits,
} from '@ironflow/schema';
import type { BrokenRule, EmittedEvent } from '@ironflow/schema';
import type { Client } from '../client/client.js';
import { ConfigurationError } from '../configuration-error.js';
import { insertText, outboxSchema, outboxTableDefault, requireTable } from './outbox-table.js';
import { startRelay } from './relay.js';
import type { Relay, RelayOptions } from './relay.js';

export interface OutboxOptions {
  /** Emits what relays find; whoever only writes needs none. */
  client?: Pick<Client, 'emit'>;
  /** Default `ironflow_outbox`; with a schema before it, if it is not on the search path. */
  table?: string;
}

export interface OutboxEvent extends EmittedEvent {
  /** Events of one key, such as an order's id, are emitted in the order in which they were written. */
  key?: string;
}

/** A client of `pg` within a transaction, or the `tx` of Prisma's `$transaction`; or whatever has one of their methods. */
export type OutboxTransaction =
  | { query(text: string, values: unknown[]): Promise<unknown> }
  | { $executeRawUnsafe(text: string, ...values: unknown[]): Promise<unknown> };

export interface Outbox {
  /** The statements that make the table, for a migration of yours; again they change nothing. */
  readonly schema: string;
  /** Emitted once the transaction has committed, and never if it does not. At most 1,000 at once. */
  enqueue(transaction: OutboxTransaction, events: OutboxEvent | readonly OutboxEvent[]): Promise<void>;
  /** Emits what was committed, from now on. As many as you like may run, each in a process of its own. */
  relay(options: RelayOptions): Relay;
}

const keyLengthMax = 256;

export function createOutbox({ client, table: given = outboxTableDefault }: OutboxOptions = {}): Outbox {
  const table = requireTable(given);
  return {
    schema: outboxSchema(table),
    enqueue: async (transaction, events) => {
      const list = isList(events) ? events : [events];
      if (list.length > limits.eventsPerRequestMax) {
        const rule = `at most ${limits.eventsPerRequestMax} events are written at once`;
        throw new ConfigurationError(rule, 'events');
      }
      if (list.length === 0) return;
      const rows = JSON.stringify(
        list.map((event, index) => toRow(event, isList(events) ? index : undefined)),
      );
      if ('$executeRawUnsafe' in transaction) await transaction.$executeRawUnsafe(insertText(table), rows);
      else await transaction.query(insertText(table), [rows]);
    },
    relay: (options) => {
      if (client === undefined) {
        const rule = 'a relay needs one: createOutbox({ client: createClient() })';
        throw new ConfigurationError(`client: ${rule}`, 'client');
      }
      return startRelay({ ...options, client, table });
    },
  };
}

/** Refused here, where the transaction can still fail, rather than by the platform, when it has committed. */
function toRow(given: OutboxEvent, index: number | undefined): { key?: string; event: string } {
  const place = index === undefined ? '' : `[${index}].`;
  const { key, ...event } = given;
  const parsed = emittedEventSchema.safeParse(event);
  if (!parsed.success) {
    const { field, message } = describeIssue(parsed.error.issues[0]!);
    throw new ConfigurationError(`${place}${field}: ${message}`, `${place}${field}`);
  }
  if (key !== undefined && !isKey(key)) {
    const rule = `must be 1 to ${keyLengthMax} characters of well-formed Unicode, and none of them U+0000`;
    throw new ConfigurationError(`${place}key: ${rule}`, `${place}key`);
  }
  if (event.at !== undefined) refuseIf(brokenTimeRule(Date.parse(event.at), Date.now()), `${place}at`);
  const broken = brokenFieldRule(event);
  if (broken !== undefined) refuseIf(broken, `${place}${broken.field}`);
  refuseIf(brokenRuleOfData(event.data), `${place}data`);
  return { ...(key === undefined ? {} : { key }), event: JSON.stringify(event) };
}

function isKey(key: unknown): boolean {
  if (typeof key !== 'string' || key.length === 0 || key.length > keyLengthMax) return false;
  return brokenTextRule(key) === undefined;
}

function brokenRuleOfData(data: unknown): BrokenRule | undefined {
  let text: string | undefined;
  try {
    text = JSON.stringify(data);
  } catch (error) {
    // Of what cannot be JSON at all, such as a cycle, the runtime says it best.
    if (!(error instanceof RangeError)) throw error;
    return dataTooDeep;
  }
  return text === undefined ? undefined : brokenDataRule(text);
}

function refuseIf(broken: BrokenRule | undefined, field: string): void {
  if (broken !== undefined) throw new ConfigurationError(`${field}: ${broken.rule}`, field);
}

function isList(events: OutboxEvent | readonly OutboxEvent[]): events is readonly OutboxEvent[] {
  return Array.isArray(events);
}
