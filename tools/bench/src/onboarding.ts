/**
 * Tenants made by the thousand: how long each takes, what the platform holds for them, and runs in all of them at once, none of which waits
 * for its turn much longer than another.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Command } from 'commander';
import type { Database } from '@ironflow/database';
import type { Platform } from '@ironflow/platform';
import { createClient, createFunction, createOperatorClient, serve } from '@ironflow/sdk';
import { connectJetStream } from '@ironflow/jetstream';
import { eventually } from '@ironflow/testing';
import { wholeNumber } from './option-values.js';
import { usageOf } from './process-usage.js';
import { createProgram, openDatabase, say, startSilentPlatform } from './program.js';
import type { Stage } from './program.js';

interface Options {
  environments: number;
  runs: number;
  smoke: boolean;
  json: boolean;
}

interface Held {
  /** Of each service's process, and of the servers. */
  megabytes: Record<string, number>;
  streams: number;
  consumers: number;
}

interface Result {
  environments: number;
  onboardMs: { p50: number; p99: number; most: number };
  before: Held;
  after: Held;
  runs: number;
  runsPerSecond: number;
  /** Of each environment: from the first event of all until its own last run had ended. */
  lastEndedMs: { least: number; p50: number; p99: number; most: number };
  missing: number;
}

const perRequest = 20;
const endedWithinMs = 900_000;
const options = readOptions();
const program = createProgram('onboarding');

await program.run(main);

function readOptions(): Options {
  const given = new Command('onboarding')
    .description('Makes environments, measures what they cost, and runs functions in all of them at once.')
    .option('--environments <n>', 'how many', wholeNumber(1, 20_000), 1_000)
    .option('--runs <n>', 'in each of them', wholeNumber(1, 1_000), 20)
    .option('--smoke', '40 environments, 5 runs in each', false)
    .option('--json', 'print JSON', false)
    .parse()
    .opts<Options>();
  return given.smoke ? { ...given, environments: 40, runs: 5 } : given;
}

function main(): Promise<boolean> {
  return program.onStage(async (stage) => {
    stage.isKept = true;
    const platform = await startSilentPlatform(stage, { processes: { replicas: 1 } });
    const database = openDatabase(stage, platform.servers.ownerUrl);
    const before = await readHeld(platform);
    const { tenants, times } = await onboard(platform);
    say(`${tenants.length} environments are made`);
    await registerAll(stage, platform, tenants);
    const after = await readHeld(platform);
    const ran = await runEverywhere(platform, database, tenants);
    const result: Result = {
      ...{ environments: tenants.length, onboardMs: sharesOf(times), before, after, ...ran },
    };
    if (options.json) console.log(JSON.stringify(result, null, 2));
    else printTables(result);
    stage.isKept = result.missing > 0;
    return !stage.isKept;
  });
}

function printTables({ onboardMs, before, after, lastEndedMs, ...counts }: Result): void {
  console.table([counts]);
  console.table({ onboardMs, lastEndedMs });
  console.table({ before: before.megabytes, after: after.megabytes });
  const held = ({ streams, consumers }: Held) => ({ streams, consumers });
  console.table({ before: held(before), after: held(after) });
}

interface Made {
  place: string;
  apiKey: string;
  signingKey: string;
}

/** One after the other, as a script does it. */
async function onboard({ url, operatorKey }: Platform): Promise<{ tenants: Made[]; times: number[] }> {
  const operator = createOperatorClient({ ironflowUrl: url, operatorKey });
  const tenants: Made[] = [];
  const times: number[] = [];
  for (let index = 0; index < options.environments; index += 1) {
    const startedMs = performance.now();
    const project = `tenant-${index}`;
    const { environments } = await operator.tenants.create({ project, environments: ['prod'] });
    times.push(performance.now() - startedMs);
    const { apiKey, signingKey } = environments[0]!;
    tenants.push({ place: `${project}/prod`, apiKey: apiKey!, signingKey: signingKey! });
  }
  return { tenants, times };
}

/** One endpoint for all, at a path of each. */
async function registerAll(stage: Stage, { url }: Platform, tenants: readonly Made[]): Promise<void> {
  const greet = createFunction({ id: 'greet', triggers: [{ event: 'onboarding.done' }] }, async ({ step }) =>
    step.run('greet', () => 'hello'),
  );
  const handlers = new Map(
    tenants.map(({ place, apiKey, signingKey }) => [
      `/${place}`,
      serve({
        app: 'greeter',
        functions: [greet],
        signingKey,
        apiKey,
        ironflowUrl: url,
        log: () => undefined,
      }),
    ]),
  );
  const server = createServer((request, response) => {
    const handler = handlers.get(request.url ?? '');
    if (handler === undefined) response.writeHead(404).end();
    else handler.node(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  stage.lifecycle.onStop('endpoint', () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  const { port } = server.address() as AddressInfo;
  await inTurns(tenants, async ({ place, apiKey }) => {
    const app = { id: 'greeter', mode: 'push', url: `http://127.0.0.1:${port}/${place}` } as const;
    await createClient({ ironflowUrl: url, apiKey }).apps.register({ ...app, functions: [greet.config] });
  });
}

async function inTurns<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const rest = [...items];
  const workers = Array.from({ length: perRequest }, async () => {
    for (let item = rest.shift(); item !== undefined; item = rest.shift()) await work(item);
  });
  await Promise.all(workers);
}

async function runEverywhere({ url }: Platform, database: Database, tenants: readonly Made[]) {
  const runs = tenants.length * options.runs;
  const startedMs = Date.now();
  await inTurns(tenants, async ({ apiKey }) => {
    const events = Array.from({ length: options.runs }, () => ({ name: 'onboarding.done' }));
    await createClient({ ironflowUrl: url, apiKey }).emit(events);
  });
  const ended = async (): Promise<number> => {
    const [row] = await database.query<{ ended: number }>(
      { name: '', text: `select count(*)::int as ended from runs where status = 'completed'` },
      [],
    );
    return row!.ended;
  };
  await eventually(
    async () => {
      const count = await ended();
      if (count < runs) throw new Error(`${count} of ${runs} runs have completed`);
    },
    { timeoutMs: endedWithinMs, intervalMs: 500 },
  ).catch((error: unknown) => say(String(error)));
  const rows = await database.query<{ last_ms: number }>(
    {
      name: '',
      text: `select (extract(epoch from max(ended_at)) * 1000)::float8 as last_ms from runs
        where status = 'completed' group by environment_id`,
    },
    [],
  );
  const times = rows.map(({ last_ms: lastMs }) => lastMs - startedMs);
  const { p50, p99, most } = sharesOf(times);
  return {
    runs,
    runsPerSecond: Math.round((runs / most) * 1_000),
    lastEndedMs: { least: Math.round(Math.min(...times)), p50, p99, most },
    missing: runs - (await ended()),
  };
}

async function readHeld({ servers, fleet }: Platform): Promise<Held> {
  const megabytes: Record<string, number> = {};
  for (const { service, pid } of fleet!.members) {
    megabytes[service] = Math.round((await usageOf(pid, { withChildren: false })).rssMegabytes);
  }
  const jetstream = await connectJetStream({ url: servers.natsUrl, name: 'onboarding', replicas: 1 });
  try {
    const reply = await jetstream.connection.request({ subject: '$JS.API.INFO', data: '' });
    if (reply.kind !== 'message') throw new Error('NATS does not say what it holds');
    const { streams, consumers } = JSON.parse(Buffer.from(reply.data).toString('utf8')) as Held;
    return { megabytes, streams, consumers };
  } finally {
    await jetstream.close();
  }
}

function sharesOf(times: readonly number[]): { p50: number; p99: number; most: number } {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (share: number): number => Math.round(sorted[Math.floor((sorted.length - 1) * share)] ?? 0);
  return { p50: at(0.5), p99: at(0.99), most: at(1) };
}
