/** Text with a limit in bytes, as `limits` counts; Zod's own `max` counts UTF-16 units. */
import { z } from 'zod';

export function utf8Text(bytesMax: number) {
  return z.string().refine((value) => isWithin(value, bytesMax), `must be at most ${bytesMax} bytes`);
}

function isWithin(value: string, bytesMax: number): boolean {
  // A character has three bytes a unit at most: short text need not be counted.
  return value.length * 3 <= bytesMax || Buffer.byteLength(value) <= bytesMax;
}
