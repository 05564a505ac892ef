/**
 * What a handler's logger writes in one call, as it is sent to be kept with the run: numbered, cut where it is longer than what is kept, and
 * no more of it than a call may bring. The last line says that there were more.
 */
import { limits } from '@ironflow/schema';
import type { LoggedLine } from '@ironflow/schema';
import type { LogLine } from '../logger.js';

/** The attempt of a step that writes. */
export type StepPlace = NonNullable<LoggedLine['step']>;

export interface LineKeeper {
  add(line: LogLine, step: StepPlace | undefined): void;
  /** The handler is at what the next call will know of: until it has gone past the last of it, a replay is silent. */
  passRecorded(): void;
  /** The handler has called a step that only the next call can begin, which is not silent from there on. */
  passHeld(): void;
}

const cutMark = ' [cut]';
/** A character that was cut through takes as many bytes in its place. */
const cutCharacterBytes = 3;
/** Within JSON each byte of a text that is JSON itself takes two at most. */
const cutFieldsBytes = Math.floor((limits.logFieldsBytesMax - 64) / 2);

export class KeptLines implements LineKeeper {
  private waiting: LoggedLine[] = [];
  private waitingBytes = 0;
  private count = 0;
  private recordedAt = 0;
  private heldAt = Number.POSITIVE_INFINITY;
  private bytes = 0;
  private isFull = false;

  constructor(private readonly now: () => number) {}

  /** About, of what has not been taken yet. */
  get size(): number {
    return this.waitingBytes;
  }

  add({ level, message, fields }: LogLine, step: StepPlace | undefined): void {
    if (this.isFull) return;
    const json = jsonOf(fields);
    this.push({
      level,
      message: cut(String(message), limits.logMessageBytesMax),
      ...(json === undefined ? {} : { fields: json }),
      ...(step === undefined ? {} : { step }),
    });
  }

  passRecorded(): void {
    this.recordedAt = this.count;
  }

  passHeld(): void {
    this.heldAt = Math.min(this.heldAt, this.count);
  }

  /** Of a push call that asks for the next one (`continue`): what that writes again is left to it. */
  takeBeforeNextCall(): LoggedLine[] {
    const heardAgainFrom = Math.min(this.recordedAt, this.heldAt);
    return this.take().filter(({ sequence, step }) => step !== undefined || sequence < heardAgainFrom);
  }

  take(): LoggedLine[] {
    const taken = this.waiting;
    this.waiting = [];
    this.waitingBytes = 0;
    return taken;
  }

  private push(line: Omit<LoggedLine, 'sequence' | 'atMs'>): void {
    const bytes = Buffer.byteLength(line.message) + Buffer.byteLength(line.fields ?? '');
    this.bytes += bytes;
    this.isFull = this.count >= limits.logLinesPerCallMax || this.bytes > limits.logBytesPerCallMax;
    const kept: typeof line = this.isFull ? { level: 'warn', message: fullMessage(this.count) } : line;
    this.waiting.push({ sequence: this.count, atMs: this.now(), ...kept });
    this.waitingBytes += bytes;
    this.count += 1;
  }
}

function fullMessage(count: number): string {
  return `${count} lines are kept of this call of the function: it wrote more`;
}

function cut(text: string, bytesMax: number): string {
  if (text.length * 3 <= bytesMax || Buffer.byteLength(text) <= bytesMax) return text;
  const bytes = Buffer.from(text.slice(0, bytesMax));
  return bytes.subarray(0, bytesMax - cutMark.length - cutCharacterBytes).toString() + cutMark;
}

/** `undefined` for no fields. What is too long is a text in the place of an object. */
function jsonOf(fields: LogLine['fields']): string | undefined {
  const json = serialize(fields);
  if (json === '{}') return undefined;
  const short = cut(json, limits.logFieldsBytesMax);
  return short === json ? json : JSON.stringify({ cut: cut(json, cutFieldsBytes) });
}

function serialize(fields: LogLine['fields']): string {
  try {
    return JSON.stringify(fields, readable);
  } catch {
    // A circle, or a toJSON() that throws: neither the line nor the function is to be lost for it.
    return '"not JSON"';
  }
}

/** JSON has nothing for these, and an error is what one looks for. */
function readable(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return String(value);
  if (!(value instanceof Error)) return value;
  const { name, message, stack, cause } = value;
  return { ...value, name, message, stack, cause };
}
