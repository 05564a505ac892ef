/**
 * `ironflow backup restore`: streams of a backup into servers that have none of them.
 *
 * 1. Nothing is touched before every file to be restored is known to be whole.
 * 2. A stream that is there is not replaced unless it was named for it, or is what a restore that was interrupted has left.
 * 3. Sequences go on behind a gap: as many further as lie between the first and the last message, and a thousand. So a revision, or the place in
 *    a topic, that was handed out after the backup hardly comes to mean something else. No further than a million: the server walks
 *    through gaps as it starts, a million in a quarter of a second.
 */
import {
  isHalfRestored,
  listStreams,
  loadStream,
  removeStream,
  requireRestoringServer,
  settleStream,
} from '@ironflow/jetstream';
import type { Connection } from '@ironflow/jetstream';
import { IronflowError } from '@ironflow/errors';
import type { BackupManifest, StreamBackup } from '@ironflow/schema';
import { readArchive } from './archive-files.js';
import { chooseRestored } from './choice.js';
import { connectBackup } from './connect-backup.js';
import { readManifest } from './manifest.js';
import { openStorage } from './open-storage.js';
import { watchProgress } from './progress.js';
import type { OnProgress } from './progress.js';
import type { BackupStorage } from './storage.js';
import { checkFiles } from './verify-backup.js';

export interface RestoreBackupOptions {
  env: NodeJS.ProcessEnv;
  place: string;
  /** As choice.ts reads it; by default what lives in NATS alone. */
  only?: string | undefined;
  /** Streams that are removed for it, by their names. */
  replace?: readonly string[];
  /** Default: as many as each had, and one on a server that is alone. */
  replicas?: number | undefined;
  onProgress?: OnProgress | undefined;
}

export interface RestoredStream {
  name: string;
  messages: number;
  /** Gone since, by a time to live of their own. */
  expired: number;
  lastSequence: number;
  replicas: number;
}

export async function restoreBackup(
  options: RestoreBackupOptions,
): Promise<{ manifest: BackupManifest; restored: RestoredStream[] }> {
  const storage = await openStorage(options.place, options.env);
  const manifest = await readManifest(storage);
  const names = chooseRestored(
    manifest.streams.map(({ configuration }) => configuration.name),
    options.only,
  );
  const chosen = manifest.streams.filter(({ configuration }) => names.includes(configuration.name));
  const connection = await connectBackup(options.env);
  try {
    requireRestoringServer(connection);
    const inTheWay = await findInTheWay(connection, names, options.replace ?? []);
    await checkFiles(storage, chosen, options.onProgress);
    for (const name of inTheWay) await removeStream(connection, name);
    const progress = watchProgress('restoring', chosen.length, options.onProgress);
    const restored: RestoredStream[] = [];
    for (const stream of chosen) {
      progress.begin({ name: stream.configuration.name, messages: stream.messages });
      const replicas = replicasFor(connection, stream, options.replicas);
      const target = targetOf(stream, replicas);
      restored.push(
        await restoreStream(connection, { storage, stream, target, onMessage: progress.onMessage }),
      );
    }
    return { manifest, restored };
  } finally {
    await connection.close();
  }
}

async function findInTheWay(
  connection: Connection,
  names: readonly string[],
  replace: readonly string[],
): Promise<string[]> {
  const there = (await listStreams(connection)).filter(({ name }) => names.includes(name));
  const kept = there
    .filter(({ name, configuration }) => !replace.includes(name) && !isHalfRestored(configuration))
    .map(({ name }) => name);
  if (kept.length === 0) return there.map(({ name }) => name);
  const message =
    `these streams are there already: ${kept.join(', ')}. Stop the services, which make them, and name those that are to be ` +
    `removed and restored in --replace`;
  throw new IronflowError('conflict', 'stream_exists', message);
}

interface Target {
  configuration: StreamBackup['configuration'];
  state: StreamBackup;
}

const gapMin = 1_000;
const gapMax = 1_000_000;

function targetOf(stream: StreamBackup, replicas: number): Target {
  const gap = Math.min(gapMin + stream.lastSequence - stream.firstSequence, gapMax);
  const lastSequence = stream.lastSequence + gap;
  const firstSequence = stream.messages === 0 ? lastSequence + 1 : stream.firstSequence;
  return {
    configuration: { ...stream.configuration, num_replicas: replicas },
    state: { ...stream, firstSequence, lastSequence },
  };
}

function replicasFor(
  { nats }: Connection,
  { configuration }: StreamBackup,
  wanted: number | undefined,
): number {
  const isAlone = nats.info?.cluster === undefined;
  return wanted ?? (isAlone ? 1 : configuration.num_replicas);
}

async function restoreStream(
  connection: Connection,
  of: { storage: BackupStorage; stream: StreamBackup; target: Target; onMessage: () => void },
): Promise<RestoredStream> {
  const { storage, stream, target, onMessage } = of;
  const { name, num_replicas: replicas } = target.configuration;
  const request = { ...target, read: () => readArchive(storage, stream), onMessage };
  const { expired } = await loadStream(connection, request);
  await settleStream(connection, request);
  return { name, messages: stream.messages, expired, lastSequence: target.state.lastSequence, replicas };
}
