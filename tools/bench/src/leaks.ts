/**
 * Known secrets searched for where none may be: the folder of Postgres with its WAL, the store of NATS, the logs of every service and the spans
 * they export. The platform makes, uses, rotates and is sent them wrongly before that.
 */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { Command } from 'commander';
import type { Database } from '@ironflow/database';
import { initNats } from '@ironflow/nats-accounts';
import type { Platform } from '@ironflow/platform';
import {
  createClient,
  createFunction,
  createOperatorClient,
  createWorker,
  NonRetryableError,
} from '@ironflow/sdk';
import type { Client } from '@ironflow/sdk';
import { eventually } from '@ironflow/testing';
import { startChild } from './children.js';
import { createProgram, openDatabase, say, startSilentPlatform } from './program.js';
import type { Stage } from './program.js';
import { needlesOf, searchFolders } from './secret-search.js';
import type { Finding } from './secret-search.js';

interface Result {
  secrets: number;
  needles: number;
  files: number;
  megabytes: number;
  findings: Finding[];
  /** Where not even what must be there was found: the search says nothing of it. */
  unsearched: string[];
}

const options = new Command('leaks')
  .description(
    'Searches what a platform stores, logs and exports for the secrets that it was given and has made.',
  )
  .option('--json', 'print JSON', false)
  .parse()
  .opts<{ json: boolean }>();
/** Below the platform's folder. */
const places = ['postgres', 'nats', 'services.log', 'spans'];
/** No secret: it is in subjects, rows, lines and spans alike. */
const project = 'secretive';
/** Longer than services keep spans. */
const spansWithinMs = 10_000;
const program = createProgram('leaks');

await program.run(main);

function main(): Promise<boolean> {
  return program.onStage(async (stage) => {
    stage.isKept = true;
    const spansFile = join(stage.folder, 'spans', 'received');
    const sink = await startChild(new URL('./otlp-sink.js', import.meta.url), { SPANS_FILE: spansFile });
    stage.lifecycle.onStop('sink', () => sink.end('SIGKILL'));
    const operatorFolder = join(stage.folder, 'operator');
    await initNats({ folder: operatorFolder, name: 'leaks', accountsFolder: './accounts' });
    const platform = await startSilentPlatform(stage, {
      processes: { replicas: 1 },
      env: {
        IRONFLOW_NATS_OPERATOR: operatorFolder,
        OTEL_EXPORTER_OTLP_ENDPOINT: (sink.message as { url: string }).url,
        LOG_LEVEL: 'debug',
      },
    });
    const secrets = await useSecrets(stage, platform);
    await flush(openDatabase(stage, platform.servers.ownerUrl));
    const needles = [...secrets].flatMap(([name, secret]) => needlesOf(name, secret));
    // What the local platform keeps for its user, and what an operator of NATS keeps, are files for exactly that.
    const kept = [operatorFolder, join(stage.folder, 'credentials.json'), join(stage.folder, 'secrets.json')];
    const { findings, files, bytes } = await searchFolders([stage.folder], needles, {
      except: (file) => kept.some((path) => file.startsWith(path)),
    });
    const unsearched = await readUnsearched(stage.folder);
    const megabytes = Math.round(bytes / 1024 / 1024);
    const result: Result = {
      secrets: secrets.size,
      needles: needles.length,
      files,
      megabytes,
      findings,
      unsearched,
    };
    if (options.json) console.log(JSON.stringify(result, null, 2));
    else print(result);
    stage.isKept = findings.length + unsearched.length > 0;
    return !stage.isKept;
  });
}

async function readUnsearched(folder: string): Promise<string[]> {
  const unsearched: string[] = [];
  for (const place of places) {
    const except = (file: string): boolean => !file.startsWith(join(folder, place));
    const { findings } = await searchFolders([folder], needlesOf('the project', project), { except });
    if (findings.length === 0) unsearched.push(place);
  }
  return unsearched;
}

/** By what each is. */
async function useSecrets(stage: Stage, platform: Platform): Promise<Map<string, string>> {
  const { url, operatorKey } = platform;
  const operator = createOperatorClient({ ironflowUrl: url, operatorKey });
  const made = await operator.tenants.create({ project, environments: ['prod'] });
  const { apiKey, signingKey } = made.environments[0] as { apiKey: string; signingKey: string };
  const secrets = new Map([
    ['an operator’s key', operatorKey],
    ['an API key', apiKey],
    ['a signing key', signingKey],
    ['the local API key', platform.apiKey],
    ['the local signing key', platform.signingKey],
  ]);
  const client = createClient({ ironflowUrl: url, apiKey });
  secrets.set('a key of another operator', (await operator.operatorKeys.create({ name: 'other' })).key);
  const key = await client.keys.create({ name: 'second', role: 'developer' });
  secrets.set('a second API key', key.key);
  secrets.set('a rotated API key', (await client.keys.rotate(key.id)).key);
  secrets.set('a rotated signing key', (await client.signingKeys.rotate()).signingKey);
  const credential = await client.credentials.create({ name: 'direct' });
  for (const [index, seed] of [...JSON.stringify(credential).matchAll(/S[UA][A-Z2-7]{56}/g)].entries()) {
    secrets.set(`the seed ${index + 1} of a credential for NATS`, seed[0]);
  }
  const webhook = await client.webhooks.create({ id: 'made', provider: 'github' });
  if (webhook.secret !== undefined) secrets.set('a secret of a webhook', webhook.secret);
  const ofProvider = `provider-${randomBytes(16).toString('hex')}`;
  await client.webhooks.create({ id: 'given', provider: 'github', secret: ofProvider });
  secrets.set('a secret that a provider made', ofProvider);
  const value = `"value" ${randomBytes(16).toString('base64')}`;
  await client.secrets.set('HIDDEN', value);
  secrets.set('a secret of the environment', value);
  await runWithSecret(stage, { platform, client, apiKey, secret: value });
  await sendWrongly(url, [...secrets.values()]);
  return secrets;
}

/** A function that reads it, logs it, and fails with it. */
async function runWithSecret(
  stage: Stage,
  {
    platform,
    client,
    apiKey,
    secret,
  }: { platform: Platform; client: Client; apiKey: string; secret: string },
): Promise<void> {
  const telling = createFunction(
    { id: 'telling', triggers: [{ event: 'leaks.asked' }] },
    async ({ secrets, logger, step }) => {
      const value = await secrets.get('HIDDEN');
      logger.info(`it is ${value}`, { value });
      await step.run('use', () => value.length);
      throw new NonRetryableError(`refused ${secret}`);
    },
  );
  const worker = createWorker({
    ...{ ironflowUrl: platform.url, apiKey, app: 'leaks', functions: [telling], slots: 5 },
    ...{ handleSignals: false, log: () => undefined },
  });
  stage.lifecycle.onStop('worker', () => worker.stop({ timeoutMs: 0 }));
  await worker.start();
  const { ids } = await client.emit({ name: 'leaks.asked' });
  await eventually(
    async () => {
      const [run] = (await client.runs.list({ event: ids[0]! })).runs;
      if (run?.status !== 'failed') throw new Error(`the run is ${run?.status ?? 'not there'}`);
    },
    { timeoutMs: 30_000 },
  );
}

/** Where they do not belong: what is refused is logged and told, and must not repeat them. */
async function sendWrongly(url: string, secrets: readonly string[]): Promise<void> {
  const [apiKey] = secrets.filter((secret) => secret.startsWith('ifk_'));
  const paths = ['/v1/runs', '/v1/runs?limit=', '/v1/keys/'];
  for (const secret of secrets) {
    for (const authorization of [`Bearer ${secret}x`, `Basic ${Buffer.from(secret).toString('base64')}`]) {
      await fetch(`${url}${paths[0]}`, { headers: { authorization } });
    }
    await fetch(`${url}/v1/events`, {
      method: 'POST',
      headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
      body: JSON.stringify({ name: secret, [secret]: secret, data: 1, at: secret }),
    });
  }
}

/** What is in memory goes to files, and spans to their sink. */
async function flush(database: Database): Promise<void> {
  await database.query({ name: '', text: 'checkpoint' }, []);
  await new Promise((resolve) => setTimeout(resolve, spansWithinMs));
}

function print({ findings, unsearched, ...figures }: Result): void {
  console.table([figures]);
  for (const { secret, encoding, file } of findings) console.log(`FOUND ${secret}, ${encoding}, in ${file}`);
  for (const place of unsearched) console.log(`NOT SEARCHED ${place}`);
  if (findings.length === 0) say('none was found');
}
