/**
 * Every route of the platform's own description, asked tens of thousands of times with what is nearly right, with a key of each role: it never
 * answers 5xx, always as it is described, no process ends, and what is right is still taken afterwards. The same seed asks the same.
 */
import { join } from 'node:path';
import fc from 'fast-check';
import { Command } from 'commander';
import { Pool } from 'undici';
import { messageOf } from '@ironflow/errors';
import { initNats } from '@ironflow/nats-accounts';
import { routes } from '@ironflow/schema';
import { classOf, faultOf, noCounts } from './fuzz-answers.js';
import type { Answer, Counts } from './fuzz-answers.js';
import { setFuzzScene } from './fuzz-scene.js';
import type { FuzzScene } from './fuzz-scene.js';
import { fuzzed } from './fuzz-values.js';
import type { FuzzRequest, JsonSchema, Operation } from './fuzz-values.js';
import { namesOf, wholeNumber } from './option-values.js';
import { createProgram, say, startSilentPlatform } from './program.js';

interface Options {
  requests: number;
  seed: number;
  only?: (keyof typeof routes)[];
  smoke: boolean;
  json: boolean;
}

interface Fault {
  route: string;
  key: string;
  what: string;
  /** With which it can be asked again. */
  request: number | 'right';
}

interface Result {
  seed: number;
  requests: number;
  perSecond: number;
  byKey: Record<string, Counts>;
  byRoute: Record<string, Counts>;
  faults: Fault[];
  failures: string[];
}

type RouteName = keyof typeof routes;

const options = readOptions();
const atOnce = 16;
const answeredWithinMs = 20_000;
/** What is right once is asked for anew after so many of its kind. */
const freshEvery = 50;
const faultsShown = 20;
const program = createProgram('fuzz');

await program.run(main);

function readOptions(): Options {
  const given = new Command('fuzz')
    .description(
      'Asks every route for what is nearly right, with a key of each role, and judges the answers.',
    )
    .option('--requests <n>', 'in all', wholeNumber(100, 10_000_000), 100_000)
    .option('--seed <n>', 'what is drawn from', wholeNumber(0, 2 ** 31 - 1), Date.now() % 1_000_000)
    .option('--only <names>', 'of routes, by their operationId', namesOf(Object.keys(routes)))
    .option('--smoke', '3,000 requests', false)
    .option('--json', 'print JSON', false)
    .parse()
    .opts<Options>();
  return given.smoke ? { ...given, requests: 3_000 } : given;
}

function main(): Promise<boolean> {
  return program.onStage(async (stage) => {
    stage.isKept = true;
    const operatorFolder = join(stage.folder, 'nats-operator');
    await initNats({ folder: operatorFolder, name: 'fuzz', accountsFolder: './accounts' });
    const env = { IRONFLOW_NATS_OPERATOR: operatorFolder };
    const platform = await startSilentPlatform(stage, { processes: { replicas: 1 }, env });
    const pids = platform.fleet!.members.map(({ pid }) => pid);
    const pool = new Pool(platform.url, { connections: atOnce });
    stage.lifecycle.onStop('requests', () => pool.destroy());
    const operations = await readOperations(platform.url);
    const names = options.only ?? (Object.keys(routes) as RouteName[]);
    const result: Result = {
      ...{ seed: options.seed, requests: 0, perSecond: 0, byKey: {}, byRoute: {}, faults: [], failures: [] },
    };
    const askers = { pool, operations, result };
    await askRight(askers, names, await setFuzzScene(stage, platform, 'before'));
    const startedMs = performance.now();
    await askFuzzed(askers, names, await setFuzzScene(stage, platform, 'fuzzed'));
    result.perSecond = Math.round(options.requests / ((performance.now() - startedMs) / 1_000));
    await askRight(askers, names, await setFuzzScene(stage, platform, 'after'));
    platform.fleet!.members.forEach(({ service, pid }, index) => {
      if (pid !== pids[index] || !isRunning(pid)) result.failures.push(`${service} has ended`);
    });
    if (options.json) console.log(JSON.stringify(result, null, 2));
    else print(result);
    stage.isKept = result.faults.length + result.failures.length > 0;
    return !stage.isKept;
  });
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

interface Askers {
  pool: Pool;
  operations: Map<RouteName, Operation>;
  result: Result;
}

/** Every route, as it should be asked: each has to be reached. */
async function askRight(askers: Askers, names: readonly RouteName[], scene: FuzzScene): Promise<void> {
  for (const name of names) {
    try {
      const { status } = await ask(askers, name, await scene.right(name), {
        key: scene.keys[routes[name].role === 'operator' ? 'operator' : 'admin']!,
        number: 'right',
      });
      if (status >= 300) askers.result.failures.push(`${name} was answered ${status} to what is right`);
    } catch (error) {
      askers.result.failures.push(`${name} cannot be asked: ${messageOf(error)}`);
    }
  }
}

async function askFuzzed(askers: Askers, names: readonly RouteName[], scene: FuzzScene): Promise<void> {
  const nearlyRight = new Map<RouteName, fc.Arbitrary<FuzzRequest>>();
  const renew = async (name: RouteName): Promise<void> => {
    nearlyRight.set(name, fuzzed(askers.operations.get(name)!, await scene.right(name)));
  };
  for (const name of names) await renew(name);
  const keys = Object.entries(scene.keys);
  let next = 0;
  const askInTurn = async (): Promise<void> => {
    while (next < options.requests) {
      const number = next;
      next += 1;
      const name = names[number % names.length]!;
      const round = Math.floor(number / names.length);
      const [keyName, key] = keys[round % keys.length]!;
      if (round > 0 && round % freshEvery === 0) {
        // Where something is paused or used up just now, the one before has to do.
        await renew(name).catch(() => undefined);
      }
      const [request] = fc.sample(nearlyRight.get(name)!, { seed: options.seed + number, numRuns: 1 });
      const { status } = await ask(askers, name, request!, { keyName, key, number });
      const counts = (askers.result.byRoute[name] ??= noCounts());
      counts[classOf(status)] += 1;
      (askers.result.byKey[keyName] ??= noCounts())[classOf(status)] += 1;
      if (number > 0 && number % 10_000 === 0)
        say(`${number} requests, ${askers.result.faults.length} faults`);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, askInTurn));
}

interface Asked {
  keyName?: string;
  key: string;
  number: number | 'right';
}

async function ask(
  { pool, operations, result }: Askers,
  name: RouteName,
  request: FuzzRequest,
  { keyName = 'admin', key, number }: Asked,
): Promise<Pick<Answer, 'status'>> {
  const operation = operations.get(name)!;
  result.requests += 1;
  const fault = (what: string): void =>
    void result.faults.push({ route: name, key: keyName, what, request: number });
  try {
    const answer = await send(pool, operation, request, key);
    const what = faultOf(operation, routes[name], answer);
    if (what !== undefined) fault(what);
    return answer;
  } catch (error) {
    fault(`no answer: ${messageOf(error)}`);
    return { status: 599 };
  }
}

async function send(pool: Pool, operation: Operation, request: FuzzRequest, key: string): Promise<Answer> {
  const path = operation.path.replace(/\{(\w+)\}/g, (_, name: string) => inPath(request.params[name] ?? ''));
  const query = Object.entries(request.query).map(([name, value]) => `${inPath(name)}=${inPath(value)}`);
  const body = bytesOf(request);
  const leave = AbortSignal.timeout(answeredWithinMs);
  const answer = await pool.request({
    method: request.method,
    path: query.length === 0 ? path : `${path}?${query.join('&')}`,
    headers: {
      ...(key === '' ? {} : { authorization: `Bearer ${key}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...request.headers,
    },
    ...(body === undefined ? {} : { body }),
    signal: leave,
  });
  const contentType = String(answer.headers['content-type'] ?? '');
  if (contentType.startsWith('text/event-stream')) {
    answer.body.on('error', () => undefined).destroy();
    return { status: answer.statusCode, contentType, text: '' };
  }
  return { status: answer.statusCode, contentType, text: await answer.body.text() };
}

function bytesOf({ body }: FuzzRequest): Buffer | undefined {
  if (body === undefined) return undefined;
  return 'bytes' in body ? body.bytes : Buffer.from(JSON.stringify(body.json) ?? '');
}

/** Lone surrogates cannot be encoded: they go as what stands for them. */
function inPath(text: string): string {
  return encodeURIComponent(Buffer.from(text).toString());
}

async function readOperations(url: string): Promise<Map<RouteName, Operation>> {
  interface Described {
    operationId: RouteName;
    parameters: Operation['parameters'];
    requestBody?: { content: Record<string, { schema: JsonSchema }> };
    responses: Record<string, unknown>;
  }
  const { paths } = (await (await fetch(`${url}/v1/openapi.json`)).json()) as {
    paths: Record<string, Record<string, Described>>;
  };
  return new Map(
    Object.entries(paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, { operationId, parameters, requestBody, responses }]) => [
        operationId,
        {
          ...{ operationId, method: method.toUpperCase(), path, parameters },
          bodySchema: Object.values(requestBody?.content ?? {})[0]?.schema,
          statuses: Object.keys(responses).map(Number),
        },
      ]),
    ),
  );
}

function print({ byKey, byRoute, faults, failures, ...figures }: Result): void {
  console.table([figures]);
  console.table(byKey);
  console.table(byRoute);
  for (const fault of faults.slice(0, faultsShown)) console.log(`FAULT ${JSON.stringify(fault)}`);
  if (faults.length > faultsShown) console.log(`… and ${faults.length - faultsShown} more faults`);
  for (const failure of failures) console.log(`FAILED ${failure}`);
}
