/** Makes a service visible to `nats micro ls` and its like: `$SRV.PING`, `$SRV.INFO`, `$SRV.STATS`. */
import { Svcm } from '@nats-io/services';
import { errors } from '@nats-io/transport-node';
import { IronflowError } from '@ironflow/errors';
import type { Connection } from './connection.js';

export interface ServiceIdentity {
  name: string;
  /** Semantic version. */
  version: string;
  description: string;
}

export async function announceService(
  connection: Connection,
  identity: ServiceIdentity,
): Promise<() => Promise<void>> {
  const service = await new Svcm(connection.nats).add({
    name: `ironflow-${identity.name}`,
    version: identity.version,
    description: identity.description,
  });
  return async () => {
    if (!connection.nats.isClosed()) await service.stop();
  };
}

/** How long replicas have to answer. */
const answerWithinMs = 500;

/** How many replicas of a service answer now; rejects while there is no connection. */
export async function countReplicas(connection: Connection, name: string): Promise<number> {
  if (!connection.isConnected()) throw new IronflowError('unavailable', 'nats_unavailable', 'disconnected');
  const client = new Svcm(connection.nats).client({ strategy: 'timer', maxWait: answerWithinMs });
  let count = 0;
  try {
    for await (const _replica of await client.ping(`ironflow-${name}`)) count += 1;
  } catch (error) {
    if (!(error instanceof errors.NoRespondersError)) throw error;
  }
  return count;
}
