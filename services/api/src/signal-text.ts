/** The data of a signal as JSON text, within the limits of an event's. Pure. */
import { IronflowError } from '@ironflow/errors';
import { limits } from '@ironflow/schema';

export function signalText(data: unknown): string | undefined {
  if (data === undefined) return undefined;
  const text = toJson(data);
  if (Buffer.byteLength(text) <= limits.eventDataBytesMax) return text;
  const rule = `must be at most ${limits.eventDataBytesMax} bytes of JSON`;
  throw new IronflowError('too_large', 'signal_data_too_large', rule, { field: 'data' });
}

function toJson(data: unknown): string {
  try {
    return JSON.stringify(data);
  } catch {
    // The parser takes any depth, the serializer is recursive.
    throw new IronflowError('invalid', 'signal_data_too_deep', 'nests too deep', { field: 'data' });
  }
}
