/** The data of a signal, a topic's message, a config document or a key as JSON text on one line, within its limit. Pure. */
import { IronflowError } from '@ironflow/errors';
import { limits } from '@ironflow/schema';

const bytesMax = {
  signal: limits.eventDataBytesMax,
  topic: limits.topicDataBytesMax,
  config: limits.configDataBytesMax,
  kv: limits.kvValueBytesMax,
};

export function payloadText(of: keyof typeof bytesMax, data: unknown): string | undefined {
  if (data === undefined) return undefined;
  const text = toJson(of, data);
  if (Buffer.byteLength(text) <= bytesMax[of]) return text;
  const rule = `must be at most ${bytesMax[of]} bytes of JSON`;
  throw new IronflowError('too_large', `${of}_data_too_large`, rule, { field: 'data' });
}

function toJson(of: string, data: unknown): string {
  try {
    return JSON.stringify(data);
  } catch {
    // The parser takes any depth, the serializer is recursive.
    throw new IronflowError('invalid', `${of}_data_too_deep`, 'nests too deep', { field: 'data' });
  }
}
