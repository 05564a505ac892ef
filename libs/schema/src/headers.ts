/** Message headers of the platform, and the version of what is inside. */
export const headerNames = {
  traceparent: 'traceparent',
  correlationId: 'Ironflow-Correlation-Id',
  causationId: 'Ironflow-Causation-Id',
  schemaVersion: 'Ironflow-Schema-Version',
  /** Of events that are put into INGEST as they are. `Nats-Msg-Id` counts as well, and is NATS' own besides. */
  idempotencyKey: 'Ironflow-Idempotency-Key',
  messageId: 'Nats-Msg-Id',
  /** Of the event's own schema. */
  eventVersion: 'Ironflow-Event-Version',
} as const;

/** `major.minor`: readers ignore fields they do not know; a newer major is put back, never dead-lettered. */
export const schemaVersion = '1.0';
/**
 * Of journal messages that readers of the version before would misread: an output that is claimed, a compensation that is
 * registered, a run that is stopping or is skipped.
 */
export const journalSchemaVersion = '2.0';
/** The newest that this build reads. */
export const schemaMajor = 2;

/**
 * Whether this build can read a message of that version. Absent means the first; what is no version at all is no newer
 * one either, for which a message would be waited for in vain: its content decides.
 */
export function canRead(version: string | undefined): boolean {
  return !(Number.parseInt(version ?? '', 10) > schemaMajor);
}
