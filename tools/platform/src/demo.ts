/**
 * `npm run demo`: the platform on a fresh data folder, the example on it, and an end. Exit code 0 only if every payload was
 * accepted and every expected run, and no other, ran exactly once and completed. Servers of the user's own are left alone.
 */
import { createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { messageOf } from '@ironflow/errors';
import { runExample } from '@ironflow/example-github-triage';
import { createLifecycle, createLogger, platformVersion } from '@ironflow/service';
import type { Lifecycle } from '@ironflow/service';
import { endOnSignal, interruptedExitCode } from './end-on-signal.js';
import { isolatedEnv } from './isolated-env.js';
import { startPlatform } from './platform.js';

interface DemoOptions {
  processes: boolean;
  /** Asked for only with processes of their own. */
  replicas?: number;
}

const say = (line: string): void => console.log(line);
const replicasMax = 8;

await main(readOptions());

async function main(options: DemoOptions): Promise<void> {
  const startedAtMs = performance.now();
  const dataFolder = await mkdtemp(join(tmpdir(), 'ironflow-demo-'));
  const lifecycle = createLifecycle({ logger: createLogger({ service: 'demo', level: 'silent' }) });
  const interruption = endOnSignal(() => say('Stopping…'));
  const interrupted = interruption.signal;
  const demo = interruption.during(runDemo({ options, dataFolder, lifecycle }));
  const ok = await demo.catch((error: unknown) => {
    if (!interrupted.aborted) process.stderr.write(`${messageOf(error)}\n`);
    return false;
  });
  const stopped = await stop(lifecycle);
  const seconds = ((performance.now() - startedAtMs) / 1_000).toFixed(1);
  const keep = !ok && !interrupted.aborted;
  if (!keep) await rm(dataFolder, { recursive: true, force: true, maxRetries: 5 });
  say(
    `Everything stopped after ${seconds} s; ${dataFolder} is ${keep ? 'kept: ledger, logs, data' : 'removed'}`,
  );
  process.exit(interrupted.aborted ? interruptedExitCode : ok && stopped ? 0 : 1);
}

async function runDemo(of: {
  options: DemoOptions;
  dataFolder: string;
  lifecycle: Lifecycle;
}): Promise<boolean> {
  const { options, dataFolder, lifecycle } = of;
  const { replicas } = options;
  const destination = createWriteStream(join(dataFolder, 'services.log'), { flags: 'a' });
  const platform = await startPlatform({
    dataFolder,
    env: isolatedEnv(process.env),
    lifecycle,
    loggerFor: (service) => createLogger({ service, version: platformVersion, destination }),
    say,
    port: 0,
    ...(options.processes || replicas !== undefined ? { processes: { replicas: replicas ?? 1 } } : {}),
  });
  const { url: ironflowUrl, apiKey, signingKey } = platform;
  const report = await runExample({ ironflowUrl, apiKey, signingKey, dataFolder, lifecycle, say });
  return report.ok;
}

async function stop(lifecycle: Lifecycle): Promise<boolean> {
  try {
    await lifecycle.stop();
    return true;
  } catch (error) {
    process.stderr.write(`${messageOf(error)}\n`);
    return false;
  }
}

function readOptions(): DemoOptions {
  return new Command('demo')
    .description('Runs the example on a platform of its own, checks every run, and stops.')
    .option('--processes', 'every service in a process of its own', false)
    .option('--replicas <n>', 'so many of each service, in processes of their own', readReplicas)
    .parse()
    .opts<DemoOptions>();
}

function readReplicas(text: string): number {
  const replicas = Number(text);
  if (Number.isInteger(replicas) && replicas >= 1 && replicas <= replicasMax) return replicas;
  throw new InvalidArgumentError(`must be a whole number from 1 to ${replicasMax}`);
}
