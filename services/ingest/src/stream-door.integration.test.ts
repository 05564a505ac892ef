import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { deadLetterSchema, subjects } from '@ironflow/schema';
import type { DeadLetter, IngestMessage, StoredEvent } from '@ironflow/schema';
import { eventually } from '@ironflow/testing';
import { newId, startIngestUnderTest } from './testing/ingest-under-test.js';
import type { IngestUnderTest } from './testing/ingest-under-test.js';

let under: IngestUnderTest;
const published: StoredEvent[] = [];
const letters: { subject: string; letter: DeadLetter }[] = [];
beforeAll(async () => {
  under = await startIngestUnderTest();
  under.onEvent((event) => published.push(event));
  under.jetstream.connection.nats.subscribe('ironflow.*.*.dlq.>', {
    callback: (_error, message) => {
      letters.push({ subject: message.subject, letter: deadLetterSchema.parse(message.json()) });
    },
  });
  await under.jetstream.connection.nats.flush();
}, 60_000);
afterAll(() => under.stop());

function messageOf(overrides: Partial<IngestMessage> = {}): IngestMessage {
  const { environmentId } = under.acme.scope;
  const id = newId();
  return { id, environmentId, name: 'ironflow.cron.report', data: '{"a":1}', source: 'cron', ...overrides };
}

async function put(
  body: unknown,
  subject = subjects.ingest(under.acme.scope, 'ironflow.cron.report'),
): Promise<void> {
  const data = typeof body === 'string' ? body : JSON.stringify(body);
  expect(await under.jetstream.publisher.publish({ subject, data })).toMatchObject({ kind: 'stored' });
}

async function pending(): Promise<number> {
  const reply = await under.jetstream.connection.request({ subject: '$JS.API.STREAM.INFO.INGEST', data: '' });
  if (reply.kind !== 'message') throw new Error(reply.kind);
  return (JSON.parse(Buffer.from(reply.data).toString()) as { state: { messages: number } }).state.messages;
}

test('a message is stored under the id its maker gave it, published and acked', async () => {
  const message = messageOf({
    correlationId: 'c-1',
    traceparent: `00-${'c'.repeat(32)}-${'d'.repeat(16)}-01`,
  });
  await put(message);
  const event = await eventually(() => {
    const found = published.find(({ id }) => id === message.id);
    expect(found).toBeDefined();
    return found!;
  });
  expect(event).toMatchObject({
    scope: under.acme.scope,
    data: '{"a":1}',
    source: 'cron',
    correlationId: 'c-1',
  });
  expect(event.traceparent).toContain(`00-${'c'.repeat(32)}-`);
  await eventually(async () => expect(await pending()).toBe(0));
  expect(await under.countEvents(under.acme.scope)).toBe(1);
});

test('a message that comes again is one event, published once', async () => {
  const message = messageOf();
  await put(message);
  await put(message);
  await eventually(async () => expect(await pending()).toBe(0));
  expect(published.filter(({ id }) => id === message.id)).toHaveLength(1);
});

test.each<[string, () => unknown, string?]>([
  ['is not JSON', () => 'nonsense'],
  ['has no id', () => ({ ...messageOf(), id: 1 })],
  ['has data that is not JSON', () => messageOf({ data: '{' })],
  ['has data nested too deep', () => messageOf({ data: '['.repeat(9_000) + ']'.repeat(9_000) })],
  ['has a correlation id that cannot be a header', () => messageOf({ correlationId: 'a\r\nb' })],
  ['names an environment that does not exist', () => messageOf({ environmentId: newId() })],
  [
    "names another environment's id below its own subject",
    () => messageOf({ environmentId: under.globex.scope.environmentId }),
  ],
  ['names another event than its subject', () => messageOf({ name: 'other' })],
])('a message that %s is dead-lettered with its payload and not tried again', async (_what, make) => {
  letters.length = 0;
  const body = make();
  await put(body);
  await eventually(() => expect(letters).toHaveLength(1));
  const { subject, letter } = letters[0]!;
  expect(subject).toBe(subjects.deadLetter(under.acme.scope, 'ingest.ironflow.cron.report'));
  expect(Buffer.from(letter.payload, 'base64').toString()).toBe(
    typeof body === 'string' ? body : JSON.stringify(body),
  );
  await eventually(async () => expect(await pending()).toBe(0));
  expect(await under.countEvents(under.globex.scope)).toBe(0);
});

test('a message that cannot be stored now waits and is stored when Postgres is back', async () => {
  await under.servers.postgres.kill();
  const message = messageOf();
  await put(message);
  await eventually(() => expect(under.logged()).toContain('put back'), { timeoutMs: 15_000 });
  expect(await pending()).toBe(1);
  await under.servers.postgres.restart();
  await eventually(() => expect(published.some(({ id }) => id === message.id)).toBe(true), {
    timeoutMs: 20_000,
  });
}, 60_000);
