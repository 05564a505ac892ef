/** When the servers that are measured say that something is stored. */
import type { Database } from '@ironflow/database';
import type { Platform } from '@ironflow/platform';

interface Varz {
  version?: string;
  jetstream?: { config?: { sync_always?: boolean; sync_interval?: number } };
}

export async function readDurability(platform: Platform, database: Database) {
  const [postgres] = await database.query<{ synchronous_commit: string; fsync: string }>(
    {
      name: 'bench_durability',
      text: `select current_setting('synchronous_commit') as synchronous_commit, current_setting('fsync') as fsync`,
    },
    [],
  );
  const varz = (await (await fetch(`${platform.servers.nats!.monitorUrl}/varz`)).json()) as Varz;
  const jetstream = varz.jetstream?.config;
  return {
    postgres: { synchronousCommit: postgres?.synchronous_commit, fsync: postgres?.fsync },
    jetstream: {
      version: varz.version,
      syncAlways: jetstream?.sync_always ?? false,
      syncIntervalSeconds: (jetstream?.sync_interval ?? 0) / 1e9,
    },
  };
}
