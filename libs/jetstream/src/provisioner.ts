/** Makes the streams, consumers and buckets of libs/schema exist: at start, and again whenever one was found missing. */
import { isDeepStrictEqual } from 'node:util';
import { jetstreamManager } from '@nats-io/jetstream';
import type { ConsumerConfig, JetStreamManager, StreamConfig } from '@nats-io/jetstream';
import { messageOf } from '@ironflow/errors';
import { ackWaitMs, buckets, consumers, streams } from '@ironflow/schema';
import type { BucketDefinition, ConsumerDefinition, StreamDefinition, StreamName } from '@ironflow/schema';
import type { Connection } from './connection.js';
import type { JetStreamLog } from './log.js';

export interface ProvisionOptions {
  /** 1 on a single server, 3 in a cluster. */
  replicas: number;
  /** Sizes and ages that differ from the table. */
  overrides?: Partial<Record<StreamName, { maxBytes?: number; maxAgeMs?: number }>>;
  log?: JetStreamLog | undefined;
}

export interface Provisioner {
  /** Calls at the same time share one pass. */
  ensure(): Promise<void>;
  ensureConsumer(definition: ConsumerDefinition): Promise<void>;
  /** Asks for a pass soon; for those who met something missing and go on trying. */
  request(): void;
}

const nanosecondsPerMs = 1_000_000;
const streamNotFound = 10059;
const minimumPauseMs = 200;

export function createProvisioner(connection: Connection, options: ProvisionOptions): Provisioner {
  let running: Promise<void> | undefined;
  let requested = false;
  const pass = async (): Promise<void> => {
    const manager = await jetstreamManager(connection.nats, { checkAPI: false });
    for (const definition of Object.values(streams)) await ensureStream(manager, definition, options);
    for (const definition of Object.values(buckets)) await ensureBucket(manager, definition, options);
    for (const definition of Object.values(consumers)) await ensureConsumer(manager, definition, options);
  };
  const ensure = (): Promise<void> => {
    running ??= pass().finally(() => (running = undefined));
    return running;
  };
  return {
    ensure,
    ensureConsumer: async (definition) => {
      await ensureConsumer(await jetstreamManager(connection.nats, { checkAPI: false }), definition, options);
    },
    request: () => {
      if (requested) return;
      requested = true;
      const attempt = async (): Promise<void> => {
        requested = false;
        await ensure().catch((error: unknown) =>
          options.log?.warn(`provisioning failed: ${messageOf(error)}`),
        );
      };
      setTimeout(() => void attempt(), minimumPauseMs).unref();
    },
  };
}

async function ensureStream(
  manager: JetStreamManager,
  definition: StreamDefinition,
  options: ProvisionOptions,
): Promise<void> {
  const config = streamConfig(definition, options);
  const found = await findStream(manager, definition.name);
  if (found === undefined) {
    const firstSequence = definition.sequenceFromTime === true ? { first_seq: Date.now() * 1_000 } : {};
    await manager.streams.add({ ...config, ...firstSequence }).catch(async (error: unknown) => {
      // Another service may have been quicker; its stream has another first sequence and is as good.
      if ((await findStream(manager, definition.name)) === undefined) throw error;
    });
    options.log?.info(`stream ${definition.name} created`);
    return;
  }
  await adjustStream(manager, found, config);
}

/** What streams and buckets are to be like; of those that exist the rest is the server's own. */
export type WantedStream = Partial<StreamConfig> & { name: string };

export function wantedStreams(options: ProvisionOptions): WantedStream[] {
  return [
    ...Object.values(streams).map((definition) => streamConfig(definition, options)),
    ...Object.values(buckets).map((definition) => bucketConfig(definition, options)),
  ];
}

function streamConfig(definition: StreamDefinition, options: ProvisionOptions): WantedStream {
  const override = options.overrides?.[definition.name];
  const maxAgeMs = override?.maxAgeMs ?? definition.maxAgeMs;
  return {
    name: definition.name,
    subjects: definition.subjects,
    retention: definition.retention,
    storage: 'file',
    num_replicas: options.replicas,
    max_age: maxAgeMs * nanosecondsPerMs,
    max_bytes: override?.maxBytes ?? definition.maxBytes,
    discard: definition.whenFull === 'refuse' ? 'new' : 'old',
    // The server refuses to remember ids for longer than messages.
    duplicate_window: Math.min(definition.duplicateWindowMs, maxAgeMs || Infinity) * nanosecondsPerMs,
    ...(definition.maxMessagesPerSubject === undefined
      ? {}
      : { max_msgs_per_subject: definition.maxMessagesPerSubject, discard_new_per_subject: true }),
    ...(definition.maxConsumers === undefined ? {} : { max_consumers: definition.maxConsumers }),
  };
}

/** The configuration that the KV convention (ADR-8) asks for, so that any NATS client can read the bucket. */
function bucketConfig(
  definition: BucketDefinition,
  { replicas }: Pick<ProvisionOptions, 'replicas'>,
): WantedStream {
  return {
    name: `KV_${definition.name}`,
    subjects: [`$KV.${definition.name}.>`],
    storage: 'file',
    num_replicas: replicas,
    max_age: definition.ttlMs * nanosecondsPerMs,
    max_bytes: definition.maxBytes,
    max_msgs_per_subject: 1,
    discard: 'new',
    allow_rollup_hdrs: true,
    deny_delete: true,
    // Who reads a marker or a state wants the last one: the leader's, not that of a replica which may be behind.
    allow_direct: false,
    duplicate_window: Math.min(definition.ttlMs || 120_000, 120_000) * nanosecondsPerMs,
  };
}

async function ensureBucket(
  manager: JetStreamManager,
  definition: BucketDefinition,
  options: ProvisionOptions,
): Promise<void> {
  const config = bucketConfig(definition, options);
  const found = await findStream(manager, config.name);
  if (found !== undefined) return adjustStream(manager, found, config);
  await manager.streams.add(config as StreamConfig).catch(async (error: unknown) => {
    if ((await findStream(manager, config.name)) === undefined) throw error;
  });
}

/** Of those that are wanted one way or the other. */
export function differingFields(found: Partial<StreamConfig>, wanted: WantedStream): (keyof StreamConfig)[] {
  const fields = Object.keys(wanted) as (keyof StreamConfig)[];
  return fields.filter((field) => !isDeepStrictEqual(found[field], wanted[field]));
}

/** An update goes through the cluster's leader even where it changes nothing: a fleet that starts would flood it. */
async function adjustStream(
  manager: JetStreamManager,
  found: StreamConfig,
  config: WantedStream,
): Promise<void> {
  if (differingFields(found, config).length === 0) return;
  await manager.streams.update(config.name, config);
}

async function ensureConsumer(
  manager: JetStreamManager,
  definition: ConsumerDefinition,
  options: ProvisionOptions,
): Promise<void> {
  const config = {
    durable_name: definition.durable,
    ack_policy: 'explicit',
    ack_wait: ackWaitMs * nanosecondsPerMs,
    max_ack_pending: definition.maxAckPending,
    max_deliver: -1,
    num_replicas: options.replicas,
    ...(definition.filterSubject === undefined ? {} : { filter_subject: definition.filterSubject }),
    ...(definition.inactiveThresholdMs === undefined
      ? {}
      : { inactive_threshold: definition.inactiveThresholdMs * nanosecondsPerMs }),
  } as Partial<ConsumerConfig>;
  await manager.consumers.add(definition.stream, config);
}

async function findStream(manager: JetStreamManager, name: string): Promise<StreamConfig | undefined> {
  try {
    return (await manager.streams.info(name)).config;
  } catch (error) {
    if (typeof error === 'object' && error !== null && 'code' in error && error.code === streamNotFound)
      return undefined;
    throw error;
  }
}
