/** What arguments and options must look like; each says in one line what is wrong. */
import { InvalidArgumentError } from 'commander';
import { messageOf } from '@ironflow/errors';
import type { Terminal } from './terminal.js';

export function parsePort(text: string): number {
  return parseInteger(text, 0, 65_535);
}

export function parsePageSize(text: string): number {
  return parseInteger(text, 1, 200);
}

function parseInteger(text: string, from: number, to: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= from && value <= to) return value;
  throw new InvalidArgumentError(`It must be a number from ${from} to ${to}.`);
}

export type WaitDuration = `${number}${'ms' | 's' | 'm'}`;

export function parseWait(text: string): WaitDuration {
  if (/^\d+(ms|s|m)$/.test(text)) return text as WaitDuration;
  throw new InvalidArgumentError('It must be a duration such as "500ms", "30s" or "1m".');
}

export type LongDuration = `${number}${'ms' | 's' | 'm' | 'h' | 'd'}`;

export function parseLongDuration(text: string): LongDuration {
  if (/^\d+(ms|s|m|h|d)$/.test(text)) return text as LongDuration;
  throw new InvalidArgumentError('It must be a duration such as "30s", "10m", "2h" or "7d".');
}

/** Any way to write a time that JavaScript reads; without a zone it is this machine's. */
export function parseTime(text: string): string {
  const time = new Date(text);
  if (!Number.isNaN(time.getTime())) return time.toISOString();
  throw new InvalidArgumentError('It must be a time such as "2030-01-31T12:00:00Z".');
}

/** An event's data: JSON, or "-" for JSON on standard input, where there is room for more. */
export async function readData(terminal: Terminal, argument: string): Promise<unknown> {
  const text = argument === '-' ? await terminal.readInput() : argument;
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new Error(`data is not JSON: ${messageOf(error)}`, { cause: error });
  }
}
