import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  createId,
  deriveFiringEventId,
  deriveIngestedEventId,
  deriveLogLineId,
  deriveReplayEventId,
  deriveRunId,
  idTimeMs,
  lowestIdAt,
} from './ids.js';
import { uuidSchema } from './identifiers.js';
import { limits } from './limits.js';

const anyTime = fc.integer({ min: 0, max: 2 ** 48 - 1 });
const anyRandom = fc.uint8Array({ minLength: 10, maxLength: 16 });
const anyNow = fc.integer({ min: 1_600_000_000_000, max: 4_000_000_000_000 });

test('an id is a UUIDv7 that tells its time', () => {
  fc.assert(
    fc.property(anyTime, anyRandom, (timeMs, random) => {
      const id = createId(timeMs, random);
      expect(uuidSchema.safeParse(id).success).toBe(true);
      expect(id).toMatch(/^.{14}7.{4}[89ab]/);
      expect(idTimeMs(id)).toBe(timeMs);
    }),
  );
});

test('ids sort by time as text, whatever their random part', () => {
  fc.assert(
    fc.property(anyTime, anyTime, anyRandom, anyRandom, (a, b, randomA, randomB) => {
      fc.pre(a !== b);
      expect(createId(a, randomA) < createId(b, randomB)).toBe(a < b);
    }),
  );
});

test('no id of a millisecond sorts before the lowest one', () => {
  fc.assert(
    fc.property(anyTime, anyRandom, (timeMs, random) => lowestIdAt(timeMs) <= createId(timeMs, random)),
  );
});

test('the same random part makes the same id, and the given bytes are left alone', () => {
  fc.assert(
    fc.property(anyTime, anyRandom, (timeMs, random) => {
      const copy = Uint8Array.from(random);
      expect(createId(timeMs, random)).toBe(createId(timeMs, copy));
      expect(random).toEqual(copy);
    }),
  );
});

test('a run’s id is the same on every routing, lies beside its event in time, and is another for any other run', () => {
  const source = fc.record({
    environmentId: fc.uuid(),
    eventTimeMs: anyNow,
    functionId: fc.stringMatching(/^\w{1,20}$/),
  });
  fc.assert(
    fc.property(source, anyRandom, ({ environmentId, eventTimeMs, functionId }, random) => {
      const eventId = createId(eventTimeMs, random);
      const runId = deriveRunId({ environmentId, eventId, functionId });
      expect(deriveRunId({ environmentId, eventId, functionId })).toBe(runId);
      expect(uuidSchema.safeParse(runId).success).toBe(true);
      expect(idTimeMs(runId)).toBe(eventTimeMs);
      const others = [
        deriveRunId({ environmentId, eventId, functionId: `${functionId}x` }),
        deriveRunId({ environmentId: eventId, eventId: environmentId, functionId }),
        deriveRunId({ environmentId, eventId: lowestIdAt(eventTimeMs + 1), functionId }),
      ];
      expect(others).not.toContain(runId);
    }),
  );
});

test('a firing’s event id is the same for whoever fires it, and another for any other time, schedule or environment', () => {
  const firing = {
    environmentId: 'e1',
    functionId: 'f',
    schedule: '* * * * * UTC',
    scheduledAtMs: 1_700_000_000_000,
  };
  const id = deriveFiringEventId(firing);
  expect(deriveFiringEventId({ ...firing })).toBe(id);
  expect(idTimeMs(id)).toBe(firing.scheduledAtMs);
  const others = [
    { ...firing, environmentId: 'e2' },
    { ...firing, functionId: 'g' },
    { ...firing, schedule: '* * * * * Europe/Berlin' },
    { ...firing, scheduledAtMs: firing.scheduledAtMs + 60_000 },
  ].map(deriveFiringEventId);
  expect(new Set([id, ...others]).size).toBe(5);
});

test('the event that replays a letter is the same however often that is asked for, and of its time', () => {
  const replay = { environmentId: 'e', letterId: 'l', replayedAtMs: 1_732_154_400_000 };
  const id = deriveReplayEventId(replay);
  expect(deriveReplayEventId({ ...replay })).toBe(id);
  expect(idTimeMs(id)).toBe(replay.replayedAtMs);
  const others = [{ environmentId: 'e2' }, { letterId: 'l2' }, { replayedAtMs: 1 }];
  const ids = others.map((other) => deriveReplayEventId({ ...replay, ...other }));
  expect(new Set([id, ...ids]).size).toBe(4);
});

test('the derivations are frozen: a changed one would route events twice', () => {
  const environmentId = '0192f0c0-0000-7000-8000-00000000000e';
  const eventId = '0192f0c0-0000-7000-8000-000000000001';
  expect(deriveRunId({ environmentId, eventId, functionId: 'welcome' })).toBe(
    '0192f0c0-0000-7dd2-af29-d58136a495ed',
  );
  const firing = {
    environmentId,
    functionId: 'nightly',
    schedule: '0 2 * * * UTC',
    scheduledAtMs: 1_732_154_400_000,
  };
  expect(deriveFiringEventId(firing)).toBe('01934c72-9d00-700f-b0df-9c0d7fee92a4');
});

test('a message of INGEST that is delivered again is the same event, and another is another', () => {
  const message = { environmentId: 'e', sequence: 5, storedAtMs: Date.UTC(2030, 0, 1) };
  const id = deriveIngestedEventId(message);
  expect(deriveIngestedEventId({ ...message })).toBe(id);
  expect(idTimeMs(id)).toBe(message.storedAtMs);
  // After NATS was wiped sequences begin anew; the time does not.
  for (const change of [{ sequence: 6 }, { storedAtMs: message.storedAtMs + 1 }, { environmentId: 'f' }]) {
    expect(deriveIngestedEventId({ ...message, ...change })).not.toBe(id);
  }
});

test('a line’s id sorts by activation, then by its start, call and place, and is the same each time', () => {
  const line = fc.record({
    activation: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
    activatedAtMs: anyTime,
    call: fc.integer({ min: 0, max: 10_000 }),
    sequence: fc.integer({ min: 0, max: limits.logLinesPerCallMax }),
  });
  const places = (of: { activation: number; activatedAtMs: number; call: number; sequence: number }) => [
    of.activation,
    of.activatedAtMs,
    of.call,
    of.sequence,
  ];
  fc.assert(
    fc.property(line, line, (a, b) => {
      expect(uuidSchema.safeParse(deriveLogLineId(a)).success).toBe(true);
      expect(deriveLogLineId(a)).toBe(deriveLogLineId({ ...a }));
      const differs = places(a).findIndex((value, index) => value !== places(b)[index]);
      if (differs === -1) return;
      expect(deriveLogLineId(a) < deriveLogLineId(b)).toBe(places(a)[differs]! < places(b)[differs]!);
    }),
  );
});
