/**
 * Packs the SDK, installs the tarball into an empty strict project, compiles a function there (once with Node's types, once
 * without any), and runs it over the push endpoint. Needs a package registry or npm's cache; leaves nothing behind.
 */
import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const resolve = createRequire(import.meta.url).resolve;
const run = (command, args, cwd) =>
  execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });

const source = `
import { createClient, createFunction, createWorker, serve, NonRetryableError, StepError } from '@ironflow/sdk';
import type { Jsonified } from '@ironflow/sdk';
import { createOutbox } from '@ironflow/sdk/outbox';
import { createTestRun } from '@ironflow/sdk/testing';
import { z } from 'zod';

const greeting = z.object({ name: z.string(), times: z.string().default('1').transform(Number) });
export const hello = createFunction(
  { id: 'hello', triggers: [{ event: 'greeting.*' }, { cron: '0 9 * * *', timezone: 'Europe/Berlin' }], schema: greeting, retries: { attempts: 2 } },
  async ({ event, events, step, run, signal, logger }) => {
    logger.info('hello', { run: run.id, aborted: signal.aborted, events: events.length });
    const name: string = event.data.name;
    const upper: string = await step.run('upper', ({ attempt }) => (attempt > 5 ? '' : name.toUpperCase()));
    const { at }: { at: string } = await step.run('date', async () => ({ at: new Date(0) }));
    try {
      await step.run('fails', (): number => { throw new NonRetryableError('no'); });
    } catch (error) {
      if (!(error instanceof StepError)) throw error;
      return { upper, at, failed: error.stepId };
    }
    return null;
  },
);
type Output = Jsonified<{ at: Date }>;
export const output: Output = { at: '' };
export const untyped = createFunction({ id: 'untyped', triggers: [] }, async ({ event, step }) => {
  await step.sleep('nap', '90s');
  await step.sleepUntil('later', new Date());
  return event.data;
});
// @ts-expect-error a function needs triggers
createFunction.bind(undefined, { id: 'wrong' });
export const worker = () => createWorker({ app: 'hello', functions: [hello, untyped], apiKey: 'ifk_x' });
export const invoke = () => createClient({ apiKey: 'ifk_x' }).invoke(hello, { name: 'you' }, { wait: '10s' });
// @ts-expect-error \`times\` goes in as text
export const wrongly = () => createClient({ apiKey: 'ifk_x' }).invoke(hello, { name: 'you', times: 1 });
// @ts-expect-error its data is missing
export const emptily = () => createClient({ apiKey: 'ifk_x' }).invoke(hello);

const written: string[] = [];
await createOutbox().enqueue({ query: async (_text: string, values: unknown[]) => written.push(String(values[0])) }, { name: 'a', key: 'k' });
if (written[0] !== JSON.stringify([{ key: 'k', event: '{"name":"a"}' }])) throw new Error(written[0]);

export const handler = serve({ app: 'hello', functions: [hello, untyped], dev: true, log: () => {} });
const id = '0192f0c0-0000-7000-8000-000000000001';
export async function call(memo: unknown[]): Promise<{ records: { id: string }[]; outcome: { kind: string; output?: string } }> {
  const event = { id, name: 'greeting.new', data: '{"name":"ada"}', receivedAtMs: 1, correlationId: id };
  const body = JSON.stringify({ v: 1, run: { id, functionId: 'hello', attempt: 1 }, event, memo });
  const response = await handler(new Request('http://localhost/', { method: 'POST', body }));
  return (await response.json()) as never;
}
const memo: unknown[] = [];
for (;;) {
  const { records, outcome } = await call(memo);
  memo.push(...records);
  if (outcome.kind === 'continue') continue;
  if (outcome.output !== '{"upper":"ADA","at":"1970-01-01T00:00:00.000Z","failed":"fails"}') throw new Error(JSON.stringify(outcome));
  break;
}
const tested = await createTestRun(hello, { data: { name: 'ada' }, steps: { upper: 'MOCKED' }, crashAfter: [2] }).execute();
const mocked: string | undefined = tested.output?.upper;
// That the StepError was caught says that both entries share its class.
if (mocked !== 'MOCKED' || tested.output?.failed !== 'fails') throw new Error(JSON.stringify(tested));
`;

const project = await mkdtemp(join(tmpdir(), 'ironflow-sdk-'));
try {
  const tarball = run(process.execPath, [join(here, 'pack.mjs')], here).trim();
  const strict = {
    strict: true,
    skipLibCheck: false,
    target: 'es2022',
    module: 'nodenext',
    outDir: 'out',
    exactOptionalPropertyTypes: true,
  };
  await writeFile(
    join(project, 'package.json'),
    JSON.stringify({ name: 'empty', private: true, type: 'module' }),
  );
  await writeFile(join(project, 'index.ts'), source);
  await writeFile(
    join(project, 'tsconfig.json'),
    JSON.stringify({ compilerOptions: { ...strict, types: [] }, files: ['index.ts'] }),
  );
  const types = `@types/node@${createRequire(import.meta.url)('@types/node/package.json').version}`;
  const install = ['install', '--no-audit', '--no-fund', '--prefer-offline', '--loglevel', 'error'];
  run('npm', [...install, tarball], project);
  const installed = await readdir(join(project, 'node_modules'));
  for (const name of installed) {
    if (/nats|prisma/i.test(name)) throw new Error(`${name} came with the SDK`);
  }
  const tsc = [resolve('typescript/bin/tsc'), '-p', project];
  run(process.execPath, tsc, project);
  run('npm', [...install, '--save-dev', types], project);
  run(process.execPath, [...tsc, '--types', 'node', '--lib', 'es2023'], project);
  run(process.execPath, [join(project, 'out', 'index.js')], project);
  process.stdout.write(`ok: ${installed.filter((name) => !name.startsWith('.')).join(', ')}\n`);
} finally {
  await rm(project, { recursive: true, force: true });
}
