/**
 * Tells which keys of a bucket there are and which change, without missing what happened during a broken connection.
 *
 * W1 A put is heard as a plain message, which a wipe of the bucket does not end, as it would a consumer.
 * W2 It is heard before the leader has stored it: each key is told again once it has been quiet for a moment.
 * W3 However often the connection breaks, one pass at a time reads what was missed.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Connection } from './connection.js';
import { describeThrown } from './log.js';
import type { JetStreamLog } from './log.js';

export interface WatchOptions {
  connection: Connection;
  name: string;
  keys: () => Promise<string[]>;
  onChange: (key: string) => void;
  log?: JetStreamLog | undefined;
}

const catchUpRetryDelayMs = 250;
/** A majority has a message within milliseconds, or there is no leader, and a reconnect or a later put follows. */
const settledAfterMs = 500;

/** Resolves when every key that is there was told; rejects, and watches nothing, when they cannot be read. */
export async function watchBucket(options: WatchOptions): Promise<() => void> {
  const { connection, name, keys, onChange, log } = options;
  const prefix = `$KV.${name}.`;
  const settling = new Map<string, NodeJS.Timeout>();
  let watching = true;
  let isBehind = false;
  let isReading = true;

  const tell = (key: string): void => {
    try {
      if (watching) onChange(key);
    } catch (thrown) {
      log?.warn(`a watcher of ${name} failed: ${describeThrown(thrown)}`);
    }
  };
  const onPut = (key: string): void => {
    tell(key);
    clearTimeout(settling.get(key));
    const again = (): void => {
      settling.delete(key);
      tell(key);
    };
    settling.set(key, setTimeout(again, settledAfterMs).unref());
  };
  const tellAll = async (): Promise<void> => {
    for (const key of await keys()) tell(key);
  };
  const catchUp = async (): Promise<void> => {
    isBehind = true;
    if (isReading) return;
    isReading = true;
    while (isBehind && watching) {
      isBehind = false;
      // The bucket may need a while to be there again.
      await tellAll().catch(() => {
        isBehind = true;
        return delay(catchUpRetryDelayMs, undefined, { ref: false });
      });
    }
    isReading = false;
  };

  const stopHearing = connection.listen(`${prefix}>`, ({ subject }) => onPut(subject.slice(prefix.length)));
  const stopListening = connection.onReconnect(() => void catchUp());
  const stop = (): void => {
    watching = false;
    stopListening();
    stopHearing();
    for (const timer of settling.values()) clearTimeout(timer);
    settling.clear();
  };
  try {
    await tellAll();
  } catch (error) {
    stop();
    throw error;
  }
  isReading = false;
  if (isBehind) void catchUp();
  return stop;
}
