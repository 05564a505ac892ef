/**
 * Messages of version 1 as SDKs and executors in the field send them. They are frozen: one that no longer parses, or parses
 * to something else, breaks an SDK that somebody has installed. Add messages when fields are added; never change one.
 */
import { describe, expect, test } from '@jest/globals';
import { limits } from './limits.js';
import {
  executorMessageSchema,
  invocationSchema,
  protocolVersion,
  pushAnswerSchema,
  signatureHeaders,
  workerMessageSchema,
  workerPath,
} from './protocol.js';
import { memoizedStepSchema, stepRecordSchema } from './step.js';

const run = '0192f0c0-1234-7000-8000-000000000001';
const event = '0192f0c0-1234-7000-8000-000000000002';
const writer = '{"activation":1732154400000123,"delivery":1,"executor":"executor-7"}';
const invocation = `{"v":1,"run":{"id":"${run}","functionId":"welcome","attempt":1},"event":{"id":"${event}","name":"user.created","data":"{\\"a\\":1}","receivedAtMs":1732154400000,"correlationId":"${event}"},"memo":[]}`;

const records: Record<string, string> = {
  completed:
    '{"id":"charge","name":"charge","attempt":1,"startedAtMs":1732154400000,"type":"run","endedAtMs":1732154400010,"status":"completed","output":"{\\"ok\\":true}"}',
  'completed with its place':
    '{"id":"charge:1","name":"charge","attempt":2,"startedAtMs":1732154400000,"endedAtMs":1732154400010,"type":"run","order":3,"status":"completed","output":"null"}',
  'completed without output':
    '{"id":"log","name":"log","attempt":1,"startedAtMs":1732154400000,"type":"run","endedAtMs":1732154400010,"status":"completed"}',
  'completed sleep':
    '{"id":"past","name":"past","type":"sleep","attempt":1,"startedAtMs":1732154400000,"endedAtMs":1732154400000,"status":"completed","order":0}',
  failed:
    '{"id":"charge","name":"charge","attempt":3,"startedAtMs":1732154400000,"type":"run","endedAtMs":1732154400010,"status":"failed","error":{"name":"TypeError","message":"no","stack":"TypeError: no\\n    at x"}}',
  retrying:
    '{"id":"charge","name":"charge","attempt":1,"startedAtMs":1732154400000,"type":"run","endedAtMs":1732154400010,"status":"retrying","error":{"name":"Error","message":"busy"},"retryInMs":750}',
  'waiting for a duration':
    '{"id":"nap","name":"nap","attempt":1,"startedAtMs":1732154400000,"type":"sleep","status":"waiting","due":{"inMs":90000}}',
  'waiting until a time':
    '{"id":"nap","name":"nap","attempt":1,"startedAtMs":1732154400000,"type":"sleep","status":"waiting","due":{"atMs":1732240800000}}',
};

const memo: Record<string, string> = {
  completed: '{"id":"a","type":"run","attempt":1,"status":"completed","output":"1"}',
  'completed with its place':
    '{"id":"a","type":"run","attempt":1,"status":"completed","order":0,"output":"1"}',
  failed: '{"id":"a","type":"run","attempt":3,"status":"failed","error":{"name":"Error","message":"no"}}',
  retrying: '{"id":"a","type":"run","attempt":1,"status":"retrying","error":{"name":"Error","message":"no"}}',
  errored: '{"id":"a","type":"run","attempt":1,"status":"errored","error":{"name":"Error","message":"no"}}',
  waiting: '{"id":"nap","type":"sleep","attempt":1,"status":"waiting"}',
  slept: '{"id":"nap","type":"sleep","attempt":1,"status":"completed"}',
};

const invocations: Record<string, string> = {
  'the first call': invocation,
  'a replay': invocation.replace('"memo":[]', `"memo":[${Object.values(memo).join(',')}]`),
  'a push call with a trace': invocation.replace(
    /\}$/,
    ',"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","deadlineMs":30000}',
  ),
  'a batch': invocation.replace(
    /\}$/,
    `,"laterEvents":[{"id":"${run}","name":"user.created","data":"{\\"a\\":2}","version":"2","receivedAtMs":1732154400001,"correlationId":"${event}"}]}`,
  ),
  'a versioned event': invocation.replace('"receivedAtMs"', '"version":"2","receivedAtMs"'),
};

const outcomes: Record<string, string> = {
  continue: '{"kind":"continue"}',
  yielded: '{"kind":"yielded"}',
  'threw, to be called again': '{"kind":"threw","error":{"name":"Error","message":"down"},"retryInMs":500}',
  'threw for good': '{"kind":"threw","error":{"name":"StepError","message":"down"}}',
  completed: '{"kind":"completed","output":"[1,2]"}',
  'completed without output': '{"kind":"completed"}',
};

const lines =
  '[{"sequence":0,"atMs":1732154400000,"level":"info","message":"begins"},{"sequence":1,"atMs":1732154400003,"level":"warn","message":"slow","fields":"{\\"ms\\":3}","step":{"id":"charge:1","attempt":2}}]';
const answers: Record<string, string> = {
  ...Object.fromEntries(
    Object.entries(outcomes).map(([name, outcome]) => [
      name,
      `{"v":1,"records":[${Object.values(records).join(',')}],"outcome":${outcome}}`,
    ]),
  ),
  'with lines of its log': `{"v":1,"records":[],"outcome":{"kind":"completed"},"lines":${lines}}`,
};

const lease = `"runId":"${run}","writer":${writer}`;
const workerMessages: Record<string, string> = {
  hello: '{"type":"hello","v":1,"sdk":"typescript/0.1.0","appId":"shop","slots":100}',
  ...Object.fromEntries(
    Object.entries(records).map(([name, record]) => [
      `record: ${name}`,
      `{"type":"record",${lease},"sequence":0,"records":[${record}]}`,
    ]),
  ),
  ...Object.fromEntries(
    Object.entries(outcomes).map(([name, outcome]) => [
      `end: ${name}`,
      `{"type":"end",${lease},"records":[],"outcome":${outcome}}`,
    ]),
  ),
  ...Object.fromEntries(
    ['function_not_found', 'protocol_version_unsupported', 'invocation_invalid'].map((reason) => [
      `end: declined: ${reason}`,
      `{"type":"end",${lease},"records":[],"outcome":{"kind":"declined","reason":"${reason}"}}`,
    ]),
  ),
  log: `{"type":"log",${lease},"lines":${lines}}`,
  drain: '{"type":"drain"}',
};

const executorMessages: Record<string, string> = {
  welcome: '{"type":"welcome","v":1,"executor":"executor-7"}',
  ...Object.fromEntries(
    Object.entries(invocations).map(([name, text]) => [
      `activate: ${name}`,
      `{"type":"activate","writer":${writer},"invocation":${text}}`,
    ]),
  ),
  recorded: `{"type":"recorded",${lease},"sequence":4}`,
  abort: `{"type":"abort",${lease},"reason":"cancelled"}`,
  drained: '{"type":"drained"}',
  refused: '{"type":"refused","code":"unauthenticated","message":"the key is not known"}',
};

const suites = [
  { what: 'a record', schema: stepRecordSchema, messages: records },
  { what: 'a memoized step', schema: memoizedStepSchema, messages: memo },
  { what: 'an invocation', schema: invocationSchema, messages: invocations },
  { what: 'an answer of a push endpoint', schema: pushAnswerSchema, messages: answers },
  { what: 'a message of a worker', schema: workerMessageSchema, messages: workerMessages },
  { what: 'a message of an executor', schema: executorMessageSchema, messages: executorMessages },
];

describe.each(suites)('$what of version 1', ({ schema, messages }) => {
  test.each(Object.entries(messages))('is read as it was sent: %s', (_, text) => {
    const message: unknown = JSON.parse(text);
    expect(schema.parse(message)).toEqual(message);
  });

  test.each(Object.entries(messages))('is read with fields that are not known yet: %s', (_, text) => {
    const message: unknown = JSON.parse(text);
    expect(schema.parse(withUnknownFields(message))).toEqual(message);
  });
});

describe('what does not fit', () => {
  test.each([
    ['an unknown type', '{"type":"weather"}'],
    ['a record without records', `{"type":"record",${lease},"sequence":0,"records":[]}`],
    ['no writer', `{"type":"end","runId":"${run}","records":[],"outcome":{"kind":"yielded"}}`],
    [
      'an activation of zero',
      `{"type":"end",${lease.replace(/"activation":\d+/, '"activation":0')},"records":[],"outcome":{"kind":"yielded"}}`,
    ],
    ['no slots', '{"type":"hello","v":1,"sdk":"x","appId":"shop","slots":0}'],
    [
      'a run id that is none',
      `{"type":"end","runId":"../x","writer":${writer},"records":[],"outcome":{"kind":"yielded"}}`,
    ],
  ])('is refused of a worker: %s', (_, text) => {
    expect(workerMessageSchema.safeParse(JSON.parse(text)).success).toBe(false);
  });

  test('is an output, a message or a name above its limit', () => {
    const record = JSON.parse(records.failed!) as { error: object };
    const long = 'x'.repeat(limits.errorMessageBytesMax + 1);
    expect(stepRecordSchema.safeParse({ ...record, error: { name: 'E', message: long } }).success).toBe(
      false,
    );
    const completed = JSON.parse(records.completed!) as object;
    const output = 'x'.repeat(limits.stepOutputBytesMax + 1);
    expect(stepRecordSchema.safeParse({ ...completed, output }).success).toBe(false);
    expect(stepRecordSchema.safeParse({ ...completed, name: 'n'.repeat(257) }).success).toBe(false);
    expect(stepRecordSchema.safeParse({ ...completed, id: '', name: 'n' }).success).toBe(false);
    expect(stepRecordSchema.safeParse({ ...completed, id: 'a\0b' }).success).toBe(false);
  });
});

test('lines of a log that do not fit cost the answer that they come with nothing', () => {
  const answer = { v: 1, records: [], outcome: { kind: 'completed' } };
  const line = { sequence: 0, atMs: 1, level: 'info', message: 'm' };
  const long = 'x'.repeat(limits.logMessageBytesMax + 1);
  const many = Array.from({ length: limits.logLinesPerCallMax + 2 }, () => line);
  for (const unfit of [7, [{}], [{ ...line, level: 'loud' }], [{ ...line, message: long }], many]) {
    expect(pushAnswerSchema.parse({ ...answer, lines: unfit })).toEqual(answer);
  }
  expect(pushAnswerSchema.parse({ ...answer, lines: [line] })).toEqual({ ...answer, lines: [line] });
});

test('the names that both sides spell are frozen', () => {
  expect(protocolVersion).toBe(1);
  expect(workerPath).toBe('/v1/workers');
  expect(signatureHeaders).toEqual({
    id: 'webhook-id',
    timestamp: 'webhook-timestamp',
    signature: 'webhook-signature',
  });
});

/** A later version's message: something new in every object. */
function withUnknownFields(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withUnknownFields);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([key, inner]) => [key, withUnknownFields(inner)]);
  return { ...Object.fromEntries(entries), unheardOf: { of: ['a', 'later', 'version'] } };
}

test('a place beyond what Postgres takes for one is refused', () => {
  const record = JSON.parse(records['completed with its place']!) as object;
  const accepts = (order: number): boolean => stepRecordSchema.safeParse({ ...record, order }).success;
  expect([0, 2 ** 31 - 1, 2 ** 31, -1, 0.5].map(accepts)).toEqual([true, true, false, false, false]);
});
