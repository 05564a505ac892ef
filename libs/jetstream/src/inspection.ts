/**
 * What an installation's NATS servers are like, for whoever looks after them. It reads, and changes nothing but for a probe: a stream of
 * its own that takes one small message and is removed at once. What it means is decided elsewhere.
 */
import { randomBytes } from 'node:crypto';
import type { StreamConfig } from '@nats-io/jetstream';
import { IronflowError, messageOf } from '@ironflow/errors';
import { storageProbe } from '@ironflow/schema';
import { connectNats } from './connection.js';
import type { Connection, ConnectionOptions } from './connection.js';
import { differingFields, wantedStreams } from './provisioner.js';
import type { ProvisionOptions } from './provisioner.js';

export interface NatsInspectionOptions
  extends
    Omit<ProvisionOptions, 'log'>,
    Pick<ConnectionOptions, 'url' | 'user' | 'password' | 'token' | 'credsFile' | 'tls'> {
  /** This machine's clock. */
  now?: () => number;
}

export type NatsInspection =
  /** `refused`: the servers do not take the credentials; `untrusted`: it is no TLS connection that either side takes. */
  | { kind: 'unreachable' | 'refused' | 'untrusted'; why: string }
  | ({ kind: 'connected'; server: NatsServerFacts } & JetStreamInspection);

export type JetStreamInspection =
  | { jetstream: 'unavailable'; why: string }
  | {
      jetstream: 'available';
      storage: StorageFacts;
      /** Those of the platform. */
      streams: StreamFacts[];
      /** Of all streams: those without a leader, and those with a replica that is away or behind. */
      leaderless: string[];
      lagging: { stream: string; replica: string }[];
      probe: ProbeOutcome;
      clocks: ClockReading[];
    };

export interface NatsServerFacts {
  name: string;
  version: string;
  hasJetStream: boolean;
  /** Undefined for a server by itself. */
  cluster: string | undefined;
  /** Those of the cluster that tell clients of themselves, this one included. */
  servers: number;
}

export interface StorageFacts {
  usedBytes: number;
  /** Of the account; `Infinity` when only the servers' own limit holds. */
  maxBytes: number;
}

export interface StreamFacts {
  name: string;
  isThere: boolean;
  /** Fields that are not as they are wanted. */
  differing: string[];
  replicas: number;
  usedBytes: number;
  maxBytes: number;
}

export type ProbeOutcome = { kind: 'stored' } | { kind: 'not_stored'; why: string };

/** How much a clock is ahead of this machine's, give or take. */
export interface ClockReading {
  name: string;
  aheadMs: number;
  uncertaintyMs: number;
}

/** A cluster waits some seconds for leaders that do not answer before it lists the others. */
const answerWithinMs = 8_000;

export async function inspectNats(options: NatsInspectionOptions): Promise<NatsInspection> {
  let connection: Connection;
  try {
    connection = await connectNats({ ...options, name: 'ironflow-doctor', requestTimeoutMs: answerWithinMs });
  } catch (error) {
    return {
      kind: kindOf(error),
      why: messageOf(error instanceof IronflowError ? (error.cause ?? error) : error),
    };
  }
  try {
    const server = serverOf(connection);
    return { kind: 'connected', server, ...(await inspectJetStream(connection, server, options)) };
  } finally {
    await connection.close();
  }
}

/** By what the client says: it has no codes for them. */
function kindOf(error: unknown): 'unreachable' | 'refused' | 'untrusted' {
  const cause = error instanceof IronflowError ? error.cause : error;
  const text = `${cause instanceof Error ? cause.name : ''} ${messageOf(cause ?? error)}`;
  if (/authorization|authentication|credentials|nkey/i.test(text)) return 'refused';
  return /certificate|tls|ssl|self.signed/i.test(text) ? 'untrusted' : 'unreachable';
}

function serverOf({ nats }: Connection): NatsServerFacts {
  const { server_name, version, jetstream, cluster, connect_urls: known } = nats.info!;
  // Servers by themselves have no cluster, and some tell a name all the same.
  const servers = Math.max(1, new Set(known ?? []).size);
  return {
    name: server_name,
    version,
    hasJetStream: jetstream === true,
    cluster: cluster === undefined || cluster === '' ? undefined : cluster,
    servers,
  };
}

interface ApiError {
  code?: number;
  err_code?: number;
  description?: string;
}

interface StreamInfo {
  config: StreamConfig;
  created: string;
  state: { bytes: number };
  cluster?: {
    leader?: string;
    replicas?: { name: string; current: boolean; offline?: boolean }[];
  };
  /** When the server said so, by its clock. */
  ts?: string;
}

const decoder = new TextDecoder();

/** What is answered, whatever that is; that nothing is counts as an error. */
async function ask<Answer>(
  connection: Connection,
  subject: string,
  body: object = {},
): Promise<Partial<Answer> & { error?: ApiError }> {
  const reply = await connection.request({ subject, data: JSON.stringify(body) });
  if (reply.kind === 'message') {
    return JSON.parse(decoder.decode(reply.data)) as Partial<Answer> & { error?: ApiError };
  }
  const description = reply.kind === 'no_responders' ? 'nobody answers for JetStream' : 'no answer in time';
  return { error: { description } } as Partial<Answer> & { error: ApiError };
}

const describeError = ({ description = 'an error', err_code: code }: ApiError): string =>
  code === undefined ? description : `${description} (${code})`;

async function inspectJetStream(
  connection: Connection,
  server: NatsServerFacts,
  options: NatsInspectionOptions,
): Promise<JetStreamInspection> {
  const account = await ask<{ storage: number; limits: { max_storage: number } }>(connection, '$JS.API.INFO');
  if (account.error !== undefined) return { jetstream: 'unavailable', why: describeError(account.error) };
  const { storage = 0, limits } = account;
  const max = limits?.max_storage ?? -1;
  const listed = await listStreams(connection);
  const { now = Date.now } = options;
  await removeProbes(connection, listed.infos, now());
  const byName = new Map(listed.infos.map((info) => [info.config.name, info]));
  return {
    jetstream: 'available',
    storage: { usedBytes: storage, maxBytes: max > 0 ? max : Infinity },
    streams: wantedStreams(options).map((wanted) => {
      const found = byName.get(wanted.name);
      return {
        name: wanted.name,
        isThere: found !== undefined || listed.missing.includes(wanted.name),
        differing: found === undefined ? [] : differingFields(found.config, wanted),
        replicas: found?.config.num_replicas ?? 0,
        usedBytes: found?.state.bytes ?? 0,
        maxBytes: wanted.max_bytes ?? 0,
      };
    }),
    leaderless: [...listed.missing, ...listed.infos.filter(isLeaderless).map(({ config }) => config.name)],
    lagging: listed.infos.flatMap(({ config, cluster }) =>
      (cluster?.replicas ?? [])
        .filter(({ current, offline }) => !current || offline === true)
        .map(({ name }) => ({ stream: config.name, replica: name })),
    ),
    clocks: await readClocks(connection, server, listed.infos, now),
    probe: await probe(
      connection,
      server.cluster === undefined ? 1 : Math.min(options.replicas, server.servers),
    ),
  };
}

function isLeaderless({ cluster }: StreamInfo): boolean {
  return cluster !== undefined && (cluster.leader === undefined || cluster.leader === '');
}

const pagesMax = 100;

/** `missing` are those whose leader gave no answer. */
async function listStreams(connection: Connection): Promise<{ infos: StreamInfo[]; missing: string[] }> {
  const infos: StreamInfo[] = [];
  const missing = new Set<string>();
  for (let page = 0; page < pagesMax; page += 1) {
    const offset = infos.length + missing.size;
    const answer = await ask<{ streams: StreamInfo[]; missing: string[]; total: number }>(
      connection,
      '$JS.API.STREAM.LIST',
      { offset },
    );
    infos.push(...(answer.streams ?? []));
    for (const name of answer.missing ?? []) missing.add(name);
    const seen = infos.length + missing.size;
    if (seen === offset || seen >= (answer.total ?? 0)) break;
  }
  return { infos, missing: [...missing] };
}

/** One of each server that leads a stream. */
async function readClocks(
  connection: Connection,
  server: NatsServerFacts,
  infos: readonly StreamInfo[],
  now: () => number,
): Promise<ClockReading[]> {
  const streamOf = new Map(infos.map(({ config, cluster }) => [cluster?.leader || server.name, config.name]));
  const readings: ClockReading[] = [];
  for (const [name, stream] of streamOf) {
    const sentAt = now();
    const { ts } = await ask<StreamInfo>(connection, `$JS.API.STREAM.INFO.${stream}`);
    const uncertaintyMs = (now() - sentAt) / 2;
    if (ts !== undefined)
      readings.push({ name, aheadMs: Date.parse(ts) - (sentAt + uncertaintyMs), uncertaintyMs });
  }
  return readings;
}

/** One that is older was cut off. */
const probeAgeMsMax = 60_000;

async function removeProbes(
  connection: Connection,
  infos: readonly StreamInfo[],
  nowMs: number,
): Promise<void> {
  for (const { config, created } of infos) {
    const isLeft =
      config.name.startsWith(storageProbe.streamPrefix) && Date.parse(created) < nowMs - probeAgeMsMax;
    if (isLeft) await ask(connection, `$JS.API.STREAM.DELETE.${config.name}`);
  }
}

/** Whether a message can be stored: small, as a server that finds its disk full turns JetStream off. */
async function probe(connection: Connection, replicas: number): Promise<ProbeOutcome> {
  const id = randomBytes(6).toString('hex');
  const name = storageProbe.streamPrefix + id;
  const subject = storageProbe.subjectPrefix + id;
  const config = { name, subjects: [subject], storage: 'file', num_replicas: replicas, max_bytes: 65_536 };
  const created = await ask(connection, `$JS.API.STREAM.CREATE.${name}`, config);
  if (created.error !== undefined) return { kind: 'not_stored', why: describeError(created.error) };
  try {
    const stored = await ask(connection, subject, { at: new Date().toISOString() });
    if (stored.error !== undefined) return { kind: 'not_stored', why: describeError(stored.error) };
    return { kind: 'stored' };
  } finally {
    await ask(connection, `$JS.API.STREAM.DELETE.${name}`);
  }
}

/** Of accounts, by their public keys, those that no server has claims of. `creds` is a login of the system's account. */
export async function findUnknownAccounts(
  options: Pick<ConnectionOptions, 'url' | 'tls' | 'creds'>,
  publicKeys: readonly string[],
): Promise<string[]> {
  const connection = await connectNats({
    ...options,
    name: 'ironflow-doctor',
    requestTimeoutMs: answerWithinMs,
  });
  try {
    const unknown: string[] = [];
    for (const key of publicKeys) {
      const reply = await connection.request({ subject: `$SYS.REQ.ACCOUNT.${key}.CLAIMS.LOOKUP`, data: '' });
      if (reply.kind !== 'message' || reply.data.length === 0) unknown.push(key);
    }
    return unknown;
  } finally {
    await connection.close();
  }
}
