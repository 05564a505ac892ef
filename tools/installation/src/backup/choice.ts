/** Which streams a command is about. Pure. */
import { IronflowError } from '@ironflow/errors';
import { isBucket, isTransport } from '@ironflow/schema';

/** As `--only` is written: `buckets`, `streams` (those that are no buckets), `all`, or names separated by commas. */
export function chooseStreams(names: readonly string[], only: string): string[] {
  if (only === 'all') return [...names];
  if (only === 'buckets') return names.filter(isBucket);
  if (only === 'streams') return names.filter((name) => !isBucket(name));
  const wanted = only.split(',').map((name) => name.trim());
  const unknown = wanted.filter((name) => !names.includes(name));
  if (unknown.length === 0) return names.filter((name) => wanted.includes(name));
  const message = `--only: there is no stream ${unknown.join(', ')}`;
  throw new IronflowError('not_found', 'stream_unknown', message);
}

/** What is restored unless something else is said: all that lives in NATS alone. */
export function chooseRestored(names: readonly string[], only: string | undefined): string[] {
  return only === undefined ? names.filter((name) => !isTransport(name)) : chooseStreams(names, only);
}
