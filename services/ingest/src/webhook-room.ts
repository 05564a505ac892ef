/**
 * The room for deliveries of webhooks that are being read. Who sends one has shown nothing yet: an address can be known to anybody, and a
 * length announced by anybody. So none of it is the room of those with a key, which is in acceptance.ts.
 */
import { TurnoverMap } from '@ironflow/collections';
import { IronflowError } from '@ironflow/errors';
import type { Metrics } from '@ironflow/service';

export interface WebhookRoom {
  /** Keeps room for a body until it is let go, which may be done twice; throws `overloaded`. */
  reserve(sender: string, bytes: number): () => void;
}

const bytesMax = 16 * 1024 * 1024;
/** Of one address of the network: two of the largest at once, or some hundreds of the usual size. */
const senderBytesMax = 4 * 1024 * 1024;

export function createWebhookRoom(metrics: Metrics): WebhookRoom {
  const bytesBySender = new TurnoverMap<string, { bytes: number }>();
  let pendingBytes = 0;
  metrics.gauge(
    'ingest_webhook_pending_bytes',
    'Bodies of webhooks being read, as long as they were announced',
    () => pendingBytes,
  );

  function take(sender: string, bytes: number): void {
    pendingBytes += bytes;
    const taken = (bytesBySender.get(sender)?.bytes ?? 0) + bytes;
    if (taken === 0) bytesBySender.delete(sender);
    else bytesBySender.set(sender, { bytes: taken });
  }

  return {
    reserve: (sender, bytes) => {
      const taken = bytesBySender.get(sender)?.bytes ?? 0;
      if (pendingBytes + bytes > bytesMax || taken + bytes > senderBytesMax) throw overloaded();
      take(sender, bytes);
      let isHeld = true;
      return () => {
        if (isHeld) take(sender, -bytes);
        isHeld = false;
      };
    },
  };
}

function overloaded(): IronflowError {
  return new IronflowError('unavailable', 'overloaded', 'too many deliveries are being read', {
    retryAfterSeconds: 1,
  });
}
