/** Makes a service visible to `nats micro ls` and its like: `$SRV.PING`, `$SRV.INFO`, `$SRV.STATS`. */
import { Svcm } from '@nats-io/services';
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
