/**
 * An upgrade and its way back, under load: the services and the SDK of an earlier commit beside today's, on today's schema.
 * Every event that was answered has to get its runs, each of them has to end once and with its result, and no step may begin
 * after its result was stored.
 */
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Command } from 'commander';
import { messageOf } from '@ironflow/errors';
import { migrate, serviceUrl } from '@ironflow/database';
import type { Database } from '@ironflow/database';
import { connectJetStream } from '@ironflow/jetstream';
import { isolatedEnv, startFleet } from '@ironflow/platform';
import type { Fleet, ServiceName } from '@ironflow/platform';
import { eventually, startNatsServer, startPostgres } from '@ironflow/testing';
import { appEnvOf, startChild } from './children.js';
import type { Child } from './children.js';
import { startEmission } from './emission.js';
import { countRuns, countUnserved } from './fault-checks.js';
import { readJournalTimes } from './journal-times.js';
import { examine, readLedger } from './ledger.js';
import {
  checkOut,
  openBuild,
  ownWorkspace,
  putMigrationsBeside,
  removeCheckout,
  removeForeignMigrations,
} from './old-build.js';
import type { Build } from './old-build.js';
import { wholeNumber } from './option-values.js';
import { createProgram, openDatabase, say } from './program.js';
import type { Stage } from './program.js';
import { checkOutcomes } from './upgrade-checks.js';

interface Options {
  from: string;
  build?: string;
  phaseSeconds: number;
  perSecond: number;
  json: boolean;
}

/** As in docs/architecture.md, "Upgrading". */
const order: readonly ServiceName[] = [
  'scheduler',
  'result-collector',
  'circuit-breaker',
  'cron',
  'ingest',
  'api',
  'executor',
];
const replicas = 2;
const completedWithinMs = 120_000;
const upgradeApp = new URL('./upgrade-app.js', import.meta.url);
const masterKey = Buffer.alloc(32, 7).toString('base64');
const passwords = { service: 'upgrade-service', tenant: 'upgrade-tenant' };

const options = new Command('upgrade')
  .description('Upgrades a real platform from an earlier commit and takes it back again, under load.')
  .requiredOption('--from <commit>', 'the commit to upgrade from; the clone needs its history')
  .option('--build <folder>', 'where that commit is checked out and built already')
  .option('--phase-seconds <n>', 'how long each phase lasts', wholeNumber(1, 3_600), 10)
  .option('--per-second <n>', 'events', wholeNumber(1, 1_000), 20)
  .option('--json', 'print JSON', false)
  .parse()
  .opts<Options>();
const program = createProgram('upgrade');

await program.run(main);

function main(): Promise<boolean> {
  return program.onStage(async (stage) => {
    const checkout = options.build ?? join(stage.folder, 'build');
    if (options.build === undefined) {
      stage.lifecycle.onStop('checkout', () => removeCheckout(checkout).catch(() => undefined));
      await checkOut(options.from, checkout, say);
    } else await removeForeignMigrations(checkout);
    const report = await upgrade(await openBuild(checkout), stage);
    if (options.json) console.log(JSON.stringify(report, null, 2));
    else say(JSON.stringify(report, null, 2));
    stage.isKept = report.failures.length > 0;
    return !stage.isKept;
  });
}

async function upgrade(old: Build, stage: Stage) {
  const scene = await setScene(old, stage);
  const { database, fleet } = scene;
  const today = await openBuild(ownWorkspace);
  let apps = await startApps(old, scene);
  stage.lifecycle.onStop('apps', async () => {
    await Promise.all(apps.map((app) => app.end('SIGKILL')));
  });
  // Only now is there somebody to run for.
  const emission = startEmission({ ...scene, perSecond: options.perSecond, count: undefined });
  const phase = async (what: string, change: () => Promise<void>): Promise<void> => {
    const startedMs = performance.now();
    await change();
    const changedSeconds = Math.round((performance.now() - startedMs) / 100) / 10;
    await pause(options.phaseSeconds * 1_000);
    say(`${what} (${changedSeconds} s): ${JSON.stringify(await countRuns(database))}`);
  };
  const replaceApps = async (build: Build): Promise<void> => {
    const before = apps;
    apps = [...(await startApps(build, scene)), ...before];
    // Calls under way still end where they began.
    await pause(3_000);
    await Promise.all(before.map((app) => app.end('SIGTERM')));
    apps = apps.slice(0, apps.length - before.length);
  };
  await phase('the older build', () => Promise.resolve());
  await phase("today's schema", async () => void (await migrate({ ownerUrl: scene.ownerUrl, log: say })));
  for (const service of order) await phase(`${service} of today`, () => replace(fleet, service, today));
  await phase('SDK of today', () => replaceApps(today));
  await letOlderBuildStart(old, scene.serviceUrl);
  await phase('back: SDK of the older build', () => replaceApps(old));
  for (const service of [...order].reverse()) {
    await phase(`back: ${service} of the older build`, () => replace(fleet, service, old));
  }
  await phase('one replica of each of today', async () => {
    for (const service of order) await replaceOne(fleet, service, today);
  });
  await phase('the SDK of today beside them', () => replaceApps(today));
  return judge(scene, await finish(emission.finish(), database), emission.refusals);
}

interface Scene {
  url: string;
  ownerUrl: string;
  serviceUrl: string;
  natsUrl: string;
  apiKey: string;
  signingKey: string;
  ledgerFile: string;
  fleet: Fleet;
  database: Database;
}

async function setScene(old: Build, stage: Stage): Promise<Scene> {
  const { folder, lifecycle } = stage;
  const postgres = await lifecycle.start('postgres', () =>
    startPostgres({ dataDir: join(folder, 'postgres') }),
  );
  const nats = await lifecycle.start('nats', () => startNatsServer({ storeDir: join(folder, 'nats') }));
  const ownerUrl = postgres.url;
  const database = openDatabase(stage, ownerUrl);
  // An older build does not know of ADR 17, and the defect of the server would end this now and then.
  await database.query(
    { name: 'no_pruning', text: 'alter database ironflow set enable_partition_pruning = off' },
    [],
  );
  await old.database.migrate({ ownerUrl, log: say, servicePasswords: passwords });
  const urls = {
    serviceUrl: serviceUrl(ownerUrl, 'ironflow_service', passwords.service),
    tenantUrl: serviceUrl(ownerUrl, 'ironflow_tenant', passwords.tenant),
  };
  const onboarding = old.database.createDatabase({ url: urls.serviceUrl, applicationName: 'upgrade' });
  const secrets = old.database.createEnvelope(masterKey);
  const { apiKey, signingKey } = await old.database
    .createTenantStore(onboarding, secrets)
    .createEnvironment({ organization: 'local', project: 'local', env: 'dev' })
    .finally(() => onboarding.close());
  const fleet = await startFleet({
    env: {
      ...isolatedEnv(process.env),
      NATS_URL: nats.url,
      DATABASE_URL: urls.serviceUrl,
      TENANT_DATABASE_URL: urls.tenantUrl,
      IRONFLOW_MASTER_KEY: masterKey,
      IRONFLOW_OUTBOUND_ALLOW: '127.0.0.0/8',
    },
    lifecycle,
    replicas,
    host: '127.0.0.1',
    port: 0,
    logFolder: folder,
    workspace: old.folder,
  });
  const ledgerFile = join(folder, 'ledger.jsonl');
  const { url } = fleet;
  return { url, ownerUrl, ...urls, natsUrl: nats.url, apiKey, signingKey, ledgerFile, fleet, database };
}

/** A worker and a push endpoint. */
async function startApps({ sdkUrl }: Build, scene: Scene): Promise<Child[]> {
  const env = {
    ...appEnvOf(scene),
    LEDGER: scene.ledgerFile,
    SDK_URL: sdkUrl,
  };
  return Promise.all(['pull', 'push'].map((mode) => startChild(upgradeApp, { ...env, MODE: mode })));
}

async function replace(fleet: Fleet, service: ServiceName, { folder }: Build): Promise<void> {
  for (const member of fleet.of(service)) {
    await member.stop();
    await member.start({ workspace: folder });
  }
}

async function replaceOne(fleet: Fleet, service: ServiceName, { folder }: Build): Promise<void> {
  const member = fleet.of(service)[0]!;
  await member.stop();
  await member.start({ workspace: folder });
}

async function letOlderBuildStart(old: Build, url: string): Promise<void> {
  const database = old.database.createDatabase({ url, applicationName: 'upgrade' });
  try {
    await old.database.checkSchemaVersion(database);
    say('The older build starts on this schema by itself.');
  } catch (error) {
    if (codeOf(error) !== 'schema_version_unknown') throw error;
    say(`The older build does not start on this schema by itself: ${messageOf(error)}`);
    await putMigrationsBeside(old);
    say("Today's migrations were put beside its own.");
  } finally {
    await database.close();
  }
}

/** Of an error of that build, whose classes are others than ours. */
function codeOf(error: unknown): string | undefined {
  return (error as { code?: string }).code;
}

interface Finished {
  eventIds: string[];
  secondsToEnd: number;
  failures: string[];
}

async function finish(emitted: Promise<string[]>, database: Scene['database']): Promise<Finished> {
  const eventIds = [...new Set(await emitted)];
  const startedMs = performance.now();
  const failures: string[] = [];
  await eventually(
    async () => {
      const { completed, failed } = await countRuns(database);
      if (completed + failed < eventIds.length * 2) throw new Error(`${completed} runs are completed`);
    },
    { timeoutMs: completedWithinMs },
  ).catch((error: unknown) => failures.push(messageOf(error)));
  return { eventIds, secondsToEnd: Math.round((performance.now() - startedMs) / 100) / 10, failures };
}

async function judge(scene: Scene, { eventIds, ...finished }: Finished, refusals: Record<string, number>) {
  const { database, natsUrl } = scene;
  const jetstream = await connectJetStream({ url: natsUrl, name: 'upgrade', replicas: 1 });
  const { connection } = jetstream;
  const stored = await readJournalTimes({ connection, database, onlyKept: false }).finally(() =>
    jetstream.close(),
  );
  const { begun, violations, repeats } = examine(readLedger(scene.ledgerFile), stored);
  const runs = await countRuns(database);
  const unserved = await countUnserved(database, eventIds);
  const failures = [...finished.failures, ...(await checkOutcomes(database))];
  if (unserved > 0) failures.push(`${unserved} of ${eventIds.length} events did not get their two runs`);
  if (runs.runs !== eventIds.length * 2)
    failures.push(`there are ${runs.runs} runs of ${eventIds.length} events`);
  if (stored.size === 0) failures.push('the journal has no results: nothing was measured');
  if (violations.length > 0) failures.push(`${violations.length} steps began after they were stored`);
  return {
    from: options.from,
    replicas,
    perSecond: options.perSecond,
    phaseSeconds: options.phaseSeconds,
    events: eventIds.length,
    ...runs,
    secondsToEnd: finished.secondsToEnd,
    stepsBegun: begun,
    repeats,
    violations: violations.length,
    refusals,
    failures,
  };
}
