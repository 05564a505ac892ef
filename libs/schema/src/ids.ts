/**
 * Ids are UUIDv7 (RFC 9562, section 5.7): 48 bits of milliseconds, version, 74 other bits. The platform makes them, so
 * that rows sort and partition by time. Pure: time and randomness are the caller's.
 */
import { createHash } from 'node:crypto';

/** A fresh id. `random` is at least 10 random bytes. */
export function createId(nowMs: number, random: Uint8Array): string {
  return format(nowMs, random);
}

/**
 * The id of the run that an event starts of a function: the same on every routing, and beside its event in time.
 */
export function deriveRunId(source: { environmentId: string; eventId: string; functionId: string }): string {
  return format(
    idTimeMs(source.eventId),
    digest('run', source.environmentId, source.eventId, source.functionId),
  );
}

/** The id of the event that a schedule emits for one of its times: whoever fires it makes the same. */
export function deriveFiringEventId(firing: {
  environmentId: string;
  functionId: string;
  /** The cron expression with its timezone. */
  schedule: string;
  scheduledAtMs: number;
}): string {
  const parts = [
    'firing',
    firing.environmentId,
    firing.functionId,
    firing.schedule,
    String(firing.scheduledAtMs),
  ];
  return format(firing.scheduledAtMs, digest(...parts));
}

/** The id of the letter that a stream's message becomes: a redelivery makes the same one. */
export function deriveDeadLetterId(message: {
  subject: string;
  sequence: number;
  storedAtMs: number;
}): string {
  const { subject, sequence, storedAtMs } = message;
  return format(storedAtMs, digest(subject, String(sequence), String(storedAtMs)));
}

/** The id of the event that a message of INGEST becomes which has none: a redelivery makes the same one. */
export function deriveIngestedEventId(message: {
  environmentId: string;
  sequence: number;
  storedAtMs: number;
}): string {
  const { environmentId, sequence, storedAtMs } = message;
  return format(storedAtMs, digest('ingested', environmentId, String(sequence), String(storedAtMs)));
}

/** The id of the event that replays a letter: the same, however often that is asked for. */
export function deriveReplayEventId(replay: {
  environmentId: string;
  letterId: string;
  /** The first time it was asked for. */
  replayedAtMs: number;
}): string {
  return format(replay.replayedAtMs, digest('replay', replay.environmentId, replay.letterId));
}

/**
 * The id of a line that a run's logger wrote: its place among the lines of the run, by activations, their calls and the order within a
 * call. Not by time: the clocks of two workers differ, and who follows the lines would miss some. The same, however often the line comes.
 */
export function deriveLogLineId(line: {
  activation: number;
  activatedAtMs: number;
  call: number;
  sequence: number;
}): string {
  const place = line.call * sequencesPerCall + line.sequence;
  const text = hex(line.activation, 14) + hex(line.activatedAtMs, 12) + hex(place, 6);
  return [text.slice(0, 8), text.slice(8, 12), text.slice(12, 16), text.slice(16, 20), text.slice(20)].join(
    '-',
  );
}

/** Above `limits.logLinesPerCallMax`; six digits have room for more calls than an activation makes. */
const sequencesPerCall = 1_024;

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0');
}

/** The milliseconds since 1970 in an id. */
export function idTimeMs(id: string): number {
  return Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
}

/** The smallest id of a millisecond, for range queries over time. */
export function lowestIdAt(timeMs: number): string {
  return format(timeMs, new Uint8Array(10));
}

function digest(...parts: string[]): Uint8Array {
  // Parts are joined by a byte that none of them can contain.
  return createHash('sha256').update(parts.join('\n')).digest();
}

function format(timeMs: number, bytes: Uint8Array): string {
  const time = Math.max(0, Math.floor(timeMs)).toString(16).padStart(12, '0');
  const rest = Buffer.from(bytes.subarray(0, 10));
  rest[0] = (rest[0]! & 0x0f) | 0x70;
  rest[2] = (rest[2]! & 0x3f) | 0x80;
  const hex = rest.toString('hex');
  return `${time.slice(0, 8)}-${time.slice(8)}-${hex.slice(0, 4)}-${hex.slice(4, 8)}-${hex.slice(8)}`;
}
