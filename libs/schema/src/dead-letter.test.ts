import { createHash } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { deadLetterMessage, deadLetterOf, deadLetterSchema } from './dead-letter.js';
import { createId } from './ids.js';

const environmentId = '0190a000-0000-7000-8000-000000000001';
const message = {
  subject: 'ironflow.acme.prod.events.order.placed',
  data: Buffer.from('{broken'),
  sequence: 7,
  storedAtMs: 1_790_000_000_000,
};
const cause = { reason: 'unreadable', detail: 'no event', nowMs: 1_790_000_000_500 } as const;

describe('a dead letter', () => {
  test('has the same id whenever its message comes, and another for any other message', () => {
    const letter = deadLetterOf(message, cause);
    const digest = createHash('sha256')
      .update(`${message.subject}\n${message.sequence}\n${message.storedAtMs}`)
      .digest();
    expect(letter.id).toBe(createId(message.storedAtMs, digest));
    expect(deadLetterOf(message, { ...cause, environmentId, nowMs: 1, detail: 'later' }).id).toBe(letter.id);
    const others = [{ sequence: 8 }, { storedAtMs: 1_790_000_000_001 }, { subject: `${message.subject}.x` }];
    const ids = others.map((other) => deadLetterOf({ ...message, ...other }, cause).id);
    expect(new Set([letter.id, ...ids]).size).toBe(4);
  });

  test('has the whole message, and its environment only when that is known', () => {
    const letter = deadLetterOf(message, cause);
    expect(deadLetterSchema.parse(letter)).toEqual(letter);
    expect(Buffer.from(letter.payload, 'base64').toString()).toBe('{broken');
    expect(letter).not.toHaveProperty('environmentId');
    expect(deadLetterOf(message, { ...cause, environmentId }).environmentId).toBe(environmentId);
  });

  test.each([
    ['events.order.placed', 'dlq.events.order.placed'],
    ['ingest.order.placed', 'dlq.ingest.order.placed'],
    [
      'results.0190a000-0000-7000-8000-0000000000aa.run',
      'dlq.results.0190a000-0000-7000-8000-0000000000aa.run',
    ],
  ])('of %s is published below the place of its message', (tail, expected) => {
    const letter = deadLetterOf({ ...message, subject: `ironflow.acme.prod.${tail}` }, cause);
    const { subject, data, messageId } = deadLetterMessage(letter)!;
    expect(subject).toBe(`ironflow.acme.prod.${expected}`);
    expect(deadLetterSchema.parse(JSON.parse(data))).toEqual(letter);
    expect(messageId).toBe(`unknown.${letter.id}`);
  });

  test.each(['nonsense', 'ironflow.acme.prod.dlq.events.a', 'ironflow.acme.prod.cancel.r'])(
    'of %s is not published',
    (subject) => {
      expect(deadLetterMessage(deadLetterOf({ ...message, subject }, cause))).toBeUndefined();
    },
  );

  test('is published as large as NATS takes it, and without its payload beyond that', () => {
    const publishedBytes = (size: number): number => {
      const letter = deadLetterOf({ ...message, data: Buffer.alloc(size) }, { ...cause, environmentId });
      return deadLetterMessage(letter)!.data.length;
    };
    expect(publishedBytes(512 * 1024)).toBeGreaterThan(512 * 1024);
    expect(publishedBytes(512 * 1024)).toBeLessThan(1024 * 1024);
    expect(publishedBytes(1024 * 1024)).toBeLessThan(1_000);
  });
});
