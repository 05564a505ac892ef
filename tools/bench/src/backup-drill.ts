/**
 * The disaster that docs/operations/backup.md is for, and what is done after it: a platform at work is backed up, loses everything but its
 * backups and secrets, and is restored. What was accepted before the backup of Postgres has to be there once and to end; what
 * was in buckets and topics has to be there; what comes new has to work. It prints counts.
 */
import { cp, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Command, Option } from 'commander';
import { createBackup, restoreBackup, verifyBackup } from '@ironflow/installation';
import type { Platform } from '@ironflow/platform';
import { createLifecycle, createLogger } from '@ironflow/service';
import { startNatsServer } from '@ironflow/testing';
import { examineRestored } from './backup-drill-checks.js';
import type { Findings } from './backup-drill-checks.js';
import { startDrillLoad } from './backup-drill-load.js';
import type { DrillLoad } from './backup-drill-load.js';
import { wholeNumber } from './option-values.js';
import { createProgram, say, startSilentPlatform } from './program.js';
import type { Stage } from './program.js';

interface Options {
  seconds: number;
  sleepSeconds: number;
  postgres: 'before' | 'after';
  transport: boolean;
  json: boolean;
}

interface Result extends Findings {
  backupSeconds: number;
  restoreSeconds: number;
  restored: number;
  messages: number;
}

const options = new Command('backup-drill')
  .description('Backs up a platform under load, loses all of it, restores it, and compares.')
  .option('--seconds <n>', 'of load before the backups', wholeNumber(2, 3_600), 10)
  .option('--sleep-seconds <n>', 'that some runs sleep, over the disaster', wholeNumber(5, 3_600), 45)
  .addOption(
    new Option('--postgres <when>', 'it is backed up, before NATS or after it')
      .choices(['before', 'after'])
      .default('before'),
  )
  .option('--transport', 'restore the streams as well that Postgres is the truth of', false)
  .option('--json', 'print JSON', false)
  .parse()
  .opts<Options>();
const program = createProgram('backup-drill');
/** What is accepted after the last backup, and lost. */
const lostSeconds = 3;

await program.run(main);

function main(): Promise<boolean> {
  return program.onStage(async (stage) => {
    stage.isKept = true;
    const lost = await playUntilDisaster(stage);
    const result = await restore(stage, lost);
    if (options.json) console.log(JSON.stringify(result, null, 2));
    else print(result);
    stage.isKept = result.failures.length > 0;
    return !stage.isKept;
  });
}

interface Lost {
  load: DrillLoad;
  place: string;
  backupSeconds: number;
}

async function playUntilDisaster(stage: Stage): Promise<Lost> {
  const folder = join(stage.folder, 'first');
  await mkdir(folder);
  const lifecycle = createLifecycle({ logger: createLogger({ service: 'first', level: 'silent' }) });
  stage.lifecycle.onStop('first', () => lifecycle.stop());
  const platform = await startSilentPlatform({ ...stage, folder, lifecycle }, { processes: { replicas: 1 } });
  const load = await startDrillLoad(platform, options);
  await pause(options.seconds * 1_000);
  const startedAtMs = performance.now();
  if (options.postgres === 'before') await backUpPostgres(stage, platform, load);
  load.mark('nats begins');
  const env = { NATS_URL: platform.serviceEnv['NATS_URL'] };
  const { place } = await createBackup({ env, target: join(stage.folder, 'backups') });
  load.mark('nats ends');
  if (options.postgres === 'after') {
    await pause(lostSeconds * 1_000);
    await backUpPostgres(stage, platform, load);
  }
  const backupSeconds = (performance.now() - startedAtMs) / 1_000;
  await pause(lostSeconds * 1_000);
  await load.stop();
  say('everything is killed and removed');
  await Promise.all(platform.fleet!.members.map((member) => member.kill()));
  await Promise.all([platform.servers.nats!.kill(), platform.servers.postgres!.kill()]);
  await lifecycle.stop();
  // The secrets are in no backup: whoever runs a platform keeps them elsewhere.
  await mkdir(join(stage.folder, 'second'));
  for (const file of ['secrets.json', 'credentials.json']) {
    await cp(join(folder, file), join(stage.folder, 'second', file));
  }
  await rm(folder, { recursive: true, maxRetries: 5 });
  return { load, place, backupSeconds };
}

async function backUpPostgres(stage: Stage, platform: Platform, load: DrillLoad): Promise<void> {
  load.mark('postgres begins');
  await platform.servers.postgres!.backUp(join(stage.folder, 'postgres'));
  load.mark('postgres ends');
}

async function restore(stage: Stage, { load, place, backupSeconds }: Lost): Promise<Result> {
  const folder = join(stage.folder, 'second');
  const manifest = await verifyBackup({ env: {}, place, restoreCheck: true });
  const startedAtMs = performance.now();
  await cp(join(stage.folder, 'postgres'), join(folder, 'postgres'), { recursive: true });
  const server = await startNatsServer({ storeDir: join(folder, 'nats') });
  const only = options.transport ? { only: 'all' } : {};
  const { restored } = await restoreBackup({ env: { NATS_URL: server.url }, place, ...only });
  await server.stop();
  const platform = await startSilentPlatform({ ...stage, folder }, { processes: { replicas: 1 } });
  const restoreSeconds = (performance.now() - startedAtMs) / 1_000;
  say(`restored ${restored.length} of ${manifest.streams.length} streams; runs go on`);
  const findings = await examineRestored(stage, { platform, load, ...options });
  const messages = restored.reduce((sum, one) => sum + one.messages, 0);
  return { backupSeconds, restoreSeconds, restored: restored.length, messages, ...findings };
}

function print({ failures, ...counts }: Result): void {
  for (const [name, count] of Object.entries(counts))
    console.log(`${name.padEnd(28)} ${Math.round(count * 10) / 10}`);
  for (const failure of failures) console.log(`FAILED ${failure}`);
}
