/** The connection of the backup commands: with the login of services, which owns every stream. */
import { connectNats } from '@ironflow/jetstream';
import type { Connection } from '@ironflow/jetstream';
import { natsLoginOf } from '@ironflow/service';

/** A server that restores or configures a stream on a slow disk takes its time. */
const requestTimeoutMs = 30_000;

export function connectBackup(env: NodeJS.ProcessEnv): Promise<Connection> {
  return connectNats({ ...natsLoginOf(env), name: 'ironflow-backup', requestTimeoutMs });
}
