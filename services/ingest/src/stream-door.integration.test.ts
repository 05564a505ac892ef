import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createIngestStore } from '@ironflow/database';
import { deadLetterSchema, headerNames, limits, subjects } from '@ironflow/schema';
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

test.each<[string, () => unknown, 'known' | 'unknown']>([
  ['is not JSON', () => 'nonsense', 'unknown'],
  ['has no id', () => ({ ...messageOf(), id: 1 }), 'known'],
  ['has data that is not JSON', () => messageOf({ data: '{' }), 'known'],
  ['has data nested too deep', () => messageOf({ data: '['.repeat(9_000) + ']'.repeat(9_000) }), 'known'],
  [
    'has data larger than HTTP takes',
    () => messageOf({ data: `"${'x'.repeat(limits.eventDataBytesMax)}"` }),
    'known',
  ],
  ['has a correlation id that cannot be a header', () => messageOf({ correlationId: 'a\r\nb' }), 'known'],
  ['names an environment that does not exist', () => messageOf({ environmentId: newId() }), 'unknown'],
  [
    "names another environment's id below its own subject",
    () => messageOf({ environmentId: under.globex.scope.environmentId }),
    'unknown',
  ],
  ['names another event than its subject', () => messageOf({ name: 'other' }), 'known'],
])('a message that %s is dead-lettered with its payload and not tried again', async (_what, make, owner) => {
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
  // Its environment sees it, if it is known; else the platform alone, whatever the message says.
  const { environmentId } = under.acme.scope;
  expect(letter.environmentId).toBe(owner === 'known' ? environmentId : undefined);
  const kept = await under.platform.prisma.deadLetter.findMany({ where: { id: letter.id } });
  expect(kept.map((row) => row.environmentId)).toEqual([owner === 'known' ? environmentId : null]);
});

test.each<[string, () => unknown]>([
  ['of a known environment', () => messageOf({ data: '['.repeat(800_000) })],
  ['of nobody knows whom', () => `{"environmentId":"${'x'.repeat(800_000)}`],
])('a message %s that is too large for DLQ is kept whole in Postgres', async (_whose, make) => {
  letters.length = 0;
  const body = make();
  await put(body);
  await eventually(() => expect(letters).toHaveLength(1));
  expect(letters[0]!.letter.payload).toBe('');
  await eventually(async () => expect(await pending()).toBe(0));
  const kept = await under.platform.prisma.deadLetter.findUniqueOrThrow({
    where: { id: letters[0]!.letter.id },
  });
  expect(Buffer.from(kept.payload!).toString()).toBe(typeof body === 'string' ? body : JSON.stringify(body));
});

describe('a message of a NATS client', () => {
  const acme = () => under.acme.scope;

  async function publish(
    name: string,
    { body = '', headers = {} }: { body?: string | Uint8Array; headers?: Record<string, string> },
    place: { project: string; env: string } = acme(),
  ): Promise<void> {
    const subject = `ironflow.${place.project}.${place.env}.ingest.${name}`;
    if (typeof body !== 'string') return under.jetstream.connection.nats.publish(subject, body);
    const { [headerNames.messageId]: messageId, ...rest } = headers;
    const identified = messageId === undefined ? {} : { messageId };
    const { kind } = await under.jetstream.publisher.publish({
      subject,
      data: body,
      headers: rest,
      ...identified,
    });
    expect(['stored', 'duplicate']).toContain(kind);
  }
  const eventOf = (name: string): Promise<StoredEvent> =>
    eventually(() => {
      const found = published.find((event) => event.name === name);
      expect(found).toBeDefined();
      return found!;
    });
  const stored = (name: string) => under.platform.prisma.event.findMany({ where: { name } });

  test('is the event of its subject, its body the data and its headers the rest', async () => {
    const headers = {
      traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`,
      'Ironflow-Correlation-Id': 'order-7',
      'Ironflow-Causation-Id': 'cart-3',
      'Ironflow-Event-Version': '2',
    };
    await publish('order.placed', { body: '{"environmentId":"mine","n":1}', headers });
    const event = await eventOf('order.placed');
    expect(event).toMatchObject({
      ...{ scope: acme(), data: '{"environmentId":"mine","n":1}', source: 'nats', version: '2' },
      ...{ correlationId: 'order-7', causationId: 'cart-3' },
    });
    expect(event.traceparent).toContain(`00-${'a'.repeat(32)}-`);
    const [row] = await stored('order.placed');
    expect(row).toMatchObject({ environmentId: acme().environmentId, source: 'nats' });
    await publish('order.emptied', {});
    expect((await eventOf('order.emptied')).data).toBe('null');
  });

  test('is for the environment of its subject, whatever its body says', async () => {
    const body = JSON.stringify(messageOf({ name: 'order.moved' }));
    await publish('order.moved', { body }, under.globex.scope);
    expect((await eventOf('order.moved')).scope).toEqual(under.globex.scope);
    expect(await stored('order.moved')).toMatchObject([{ environmentId: under.globex.scope.environmentId }]);
  });

  test.each(['Nats-Msg-Id', 'Ironflow-Idempotency-Key'])('is one event for one key in %s', async (header) => {
    const name = `keyed.${header}`;
    for (const n of [1, 2, 3]) await publish(name, { body: `${n}`, headers: { [header]: `key of ${name}` } });
    await eventOf(name);
    await eventually(async () => expect(await pending()).toBe(0));
    expect(await stored(name)).toMatchObject([{ data: 1 }]);
    // The same key over HTTP is the same event.
    const answer = await under.post('/v1/events', { name, data: 4, idempotencyKey: `key of ${name}` });
    expect(answer.body.ids).toEqual([(await stored(name))[0]!.id]);
  });

  test.each<[string, string, { body?: string | Uint8Array; headers?: Record<string, string> }, RegExp]>([
    ['is not JSON', 'bad', { body: '{secret' }, /^data must be JSON$/],
    ['is not UTF-8', 'bad', { body: new Uint8Array([0x22, 0xff, 0x22]) }, /UTF-8/],
    ['is too large', 'bad', { body: `"${'x'.repeat(limits.eventDataBytesMax)}"` }, /512 KiB/],
    ['is nested too deep', 'bad', { body: '['.repeat(300) + ']'.repeat(300) }, /nest/],
    ['has too long a name', Array(9).fill('a').join('.'), { body: '1' }, /^name /],
    ['has too long a version', 'bad', { headers: { 'Ironflow-Event-Version': 'v'.repeat(65) } }, /^version /],
  ])('that %s is a dead letter of its environment, which says why', async (_what, name, message, rule) => {
    letters.length = 0;
    await publish(name, message);
    await eventually(() => expect(letters).toHaveLength(1));
    const { letter } = letters[0]!;
    expect(letter.environmentId).toBe(acme().environmentId);
    expect(letter.detail).toMatch(rule);
    expect(letter.detail).not.toContain('secret');
    await eventually(async () => expect(await pending()).toBe(0));
  });

  test('whose key was for another event is a dead letter, and is not tried for ever', async () => {
    letters.length = 0;
    const headers = { 'Ironflow-Idempotency-Key': 'of another' };
    await publish('first.one', { body: '1', headers });
    await eventOf('first.one');
    await publish('second.one', { body: '1', headers });
    await eventually(() => expect(letters).toHaveLength(1));
    expect(letters[0]!.letter).toMatchObject({
      ...{ environmentId: acme().environmentId, detail: 'idempotency_key_reused' },
    });
    await eventually(async () => expect(await pending()).toBe(0));
  });

  test('for an environment that there is not is a dead letter for the platform alone', async () => {
    letters.length = 0;
    await publish('order.lost', { body: '1' }, { project: 'shop', env: 'nowhere' });
    await eventually(() => expect(letters).toHaveLength(1));
    expect(letters[0]!.letter.environmentId).toBeUndefined();
    expect(letters[0]!.letter.detail).toBe('there is no environment of this subject');
    expect(await stored('order.lost')).toEqual([]);
  });
});

test('an id at the end of time harms nobody who reads with it', async () => {
  const message = messageOf({ id: 'ffffffff-ffff-7000-8000-000000000000' });
  await put(message);
  await eventually(() => expect(published.some(({ id }) => id === message.id)).toBe(true));
  const { environmentId } = under.acme.scope;
  const ids = [message.id, newId()];
  const runs = await createIngestStore(under.platform).eventRuns(environmentId, ids);
  expect(runs.map(({ eventId }) => eventId)).toEqual(ids);
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
