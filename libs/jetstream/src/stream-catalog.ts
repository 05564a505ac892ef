/** Which streams there are, how they are configured, and what is in them: for backups. */
import { setTimeout as delay } from 'node:timers/promises';
import { IronflowError, messageOf } from '@ironflow/errors';
import { streamConfigurationSchema } from '@ironflow/schema';
import type { StreamConfiguration } from '@ironflow/schema';
import { askApi, refusalOf, requireApi, streamNotFoundCode } from './jetstream-api.js';
import type { Connection } from './connection.js';

export interface StreamSummary {
  name: string;
  configuration: StreamConfiguration;
  messages: number;
  bytes: number;
  firstSequence: number;
  lastSequence: number;
}

type Api = Pick<Connection, 'request'>;

/** All of them, by name. Rejects when some do not answer: their nodes are away. */
export async function listStreams(connection: Api): Promise<StreamSummary[]> {
  const found: StreamSummary[] = [];
  for (;;) {
    const answer = await requireApi<ListAnswer>(connection, 'STREAM.LIST', { offset: found.length });
    const { streams: page, missing } = answer;
    if (missing && missing.length > 0) {
      const message = `these streams do not answer now: ${missing.join(', ')}`;
      throw new IronflowError('unavailable', 'stream_unavailable', message);
    }
    if (!page || page.length === 0) break;
    found.push(...page.map(summaryOf));
    if (found.length >= answer.total) break;
  }
  return found.sort((one, other) => (one.name < other.name ? -1 : 1));
}

export async function findStream(connection: Api, name: string): Promise<StreamSummary | undefined> {
  const answer = await askApi<StreamInfo>(connection, `STREAM.INFO.${name}`, {});
  if (answer.error === undefined) return summaryOf(answer);
  if (answer.error.err_code === streamNotFoundCode) return undefined;
  throw refusalOf(`STREAM.INFO.${name}`, answer.error);
}

/** With all that is in it; nothing to do if there is none. */
export async function removeStream(connection: Api, name: string): Promise<void> {
  const { error } = await askApi(connection, `STREAM.DELETE.${name}`, {});
  if (error !== undefined && error.err_code !== streamNotFoundCode)
    throw refusalOf(`STREAM.DELETE.${name}`, error);
}

const replicasWithinMs = 600_000;
const pollDelayMs = 250;

/** Resolves when every replica has what its leader has. */
export async function configureStream(connection: Api, configuration: StreamConfiguration): Promise<void> {
  const { name, num_replicas: replicas } = configuration;
  await requireApi(connection, `STREAM.UPDATE.${name}`, configuration);
  if (replicas === 1) return;
  const deadlineMs = performance.now() + replicasWithinMs;
  for (;;) {
    const behind = await whatIsBehind(connection, configuration).catch(messageOf);
    if (behind === undefined) return;
    if (performance.now() > deadlineMs) {
      const message = `${name} is restored, but not on all of its ${replicas} replicas: ${behind}`;
      throw new IronflowError('unavailable', 'replicas_behind', message);
    }
    await delay(pollDelayMs);
  }
}

async function whatIsBehind(
  connection: Api,
  { name, num_replicas: replicas }: StreamConfiguration,
): Promise<string | undefined> {
  const { cluster } = await requireApi<StreamInfo>(connection, `STREAM.INFO.${name}`, {});
  const others = cluster?.replicas ?? [];
  const whole = others.filter(({ current, offline }) => current && offline !== true).length;
  if (cluster?.leader !== undefined && whole >= replicas - 1) return undefined;
  return `${whole} of ${replicas - 1} followers have all of it`;
}

interface StreamInfo {
  config: unknown;
  state: { messages: number; bytes: number; first_seq: number; last_seq: number };
  cluster?: { leader?: string; replicas?: { current: boolean; offline?: boolean }[] };
}

interface ListAnswer {
  total: number;
  streams: StreamInfo[] | null;
  missing?: string[] | null;
}

function summaryOf({ config, state }: StreamInfo): StreamSummary {
  const configuration = streamConfigurationSchema.parse(config);
  return {
    name: configuration.name,
    configuration,
    messages: state.messages,
    bytes: state.bytes,
    firstSequence: state.first_seq,
    lastSequence: state.last_seq,
  };
}
