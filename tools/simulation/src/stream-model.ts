/** One JetStream stream in memory, by the rules that production relies on. */
import type { StreamName } from '@ironflow/schema';

export interface StoredMessage {
  sequence: number;
  subject: string;
  data: string;
  headers: Record<string, string>;
  storedAtMs: number;
}

export interface Published {
  subject: string;
  data: string;
  headers: Record<string, string>;
}

/** As the server says it. */
export type PublishAnswer =
  { seq: number; duplicate?: boolean } | { error: { err_code: number; description: string } };

const deduplicationMs = 120_000;

export class StreamModel {
  readonly messages = new Map<number, StoredMessage>();
  private readonly ids = new Map<string, { sequence: number; atMs: number }>();
  lastSequence: number;

  constructor(
    readonly name: StreamName,
    nowMs: number,
    /** One replica looks at expectations first, several at message ids. */
    private readonly options: { expectationsFirst: boolean },
  ) {
    // Of a stream made anew: no sequence is given out twice.
    this.lastSequence = Math.floor(nowMs) * 1_000;
  }

  publish(message: Published, nowMs: number): PublishAnswer {
    const id = message.headers['Nats-Msg-Id'];
    const known = id === undefined ? undefined : this.ids.get(id);
    const isKnown = known !== undefined && nowMs - known.atMs < deduplicationMs;
    if (!this.options.expectationsFirst && isKnown) return { seq: known.sequence, duplicate: true };
    if (!this.isExpected(message)) {
      return { error: { err_code: 10071, description: 'wrong last sequence' } };
    }
    if (isKnown) return { seq: known.sequence, duplicate: true };
    if (this.name === 'STEPS' && this.last(message.subject) !== undefined) {
      return { error: { err_code: 10077, description: 'maximum messages per subject exceeded' } };
    }
    this.lastSequence += 1;
    const sequence = this.lastSequence;
    this.messages.set(sequence, { ...message, sequence, storedAtMs: nowMs });
    if (id !== undefined) this.ids.set(id, { sequence, atMs: nowMs });
    return { seq: sequence };
  }

  last(filter: string): StoredMessage | undefined {
    let found: StoredMessage | undefined;
    for (const message of this.messages.values()) if (matches(filter, message.subject)) found = message;
    return found;
  }

  /** The first at or after a sequence. */
  next(filter: string, from: number): StoredMessage | undefined {
    for (const message of this.messages.values()) {
      if (message.sequence >= from && matches(filter, message.subject)) return message;
    }
    return undefined;
  }

  /** Answers what was removed. */
  purgeBelow(sequence: number): StoredMessage[] {
    const removed = [...this.messages.values()].filter((message) => message.sequence < sequence);
    for (const message of removed) this.messages.delete(message.sequence);
    this.lastSequence = Math.max(this.lastSequence, sequence - 1);
    return removed;
  }

  private isExpected({ headers }: Published): boolean {
    const expected = headers['Nats-Expected-Last-Subject-Sequence'];
    if (expected === undefined) return true;
    const filter = headers['Nats-Expected-Last-Subject-Sequence-Subject'] ?? '';
    return (this.last(filter)?.sequence ?? 0) === Number(expected);
  }
}

/** `>` at the end and `*` in between. */
export function matches(filter: string, subject: string): boolean {
  if (filter === subject) return true;
  if (filter.endsWith('.>') && !filter.includes('*')) return subject.startsWith(filter.slice(0, -1));
  const wanted = filter.split('.');
  const tokens = subject.split('.');
  for (const [index, token] of wanted.entries()) {
    if (token === '>') return tokens.length > index;
    if (token !== '*' && token !== tokens[index]) return false;
  }
  return wanted.length === tokens.length;
}
