/** What accounts may take of a server. Pure. */
import type { OperatorLimits } from '@nats-io/jwt';
import { limits } from '@ironflow/schema';

const unlimited = -1;

/** Where every stream of the platform is. */
export const platformLimits: OperatorLimits = {
  conn: unlimited,
  subs: unlimited,
  data: unlimited,
  payload: unlimited,
  imports: unlimited,
  exports: unlimited,
  leaf: unlimited,
  wildcards: true,
  disallow_bearer: true,
  mem_storage: unlimited,
  disk_storage: unlimited,
  streams: unlimited,
  consumer: unlimited,
};

/** No streams, no leaf nodes, no exports: nothing but connections that emit events. */
export const tenantLimits: OperatorLimits = {
  conn: limits.directConnectionsMax,
  subs: limits.directSubscriptionsMax,
  data: unlimited,
  // An event's data, and room for its headers.
  payload: limits.eventDataBytesMax + limits.directHeaderBytesMax,
  imports: 1,
  exports: 0,
  leaf: 0,
  wildcards: true,
  disallow_bearer: true,
  mem_storage: 0,
  disk_storage: 0,
  streams: 0,
  consumer: 0,
};
