/**
 * Chaos: the platform as processes under a mixed load, while processes and servers are killed, paused, restarted and wiped. Then
 * everything comes to rest, and an oracle outside of the platform judges what became of every event. docs/chaos.md.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { namesOf, wholeNumber } from '@ironflow/bench';
import { messageOf } from '@ironflow/errors';
import { endOnSignal, interruptedExitCode } from '@ironflow/platform';
import { createLifecycle, createLogger } from '@ironflow/service';
import { faultKinds, faultNames } from './fault-kinds.js';
import { planOperations } from './operations.js';
import { planFaults } from './plan.js';
import { playChaos } from './play.js';
import type { ChaosOptions } from './play.js';
import { printReport } from './report.js';
import type { Report } from './report.js';

interface Options extends Omit<ChaosOptions, 'plan' | 'operations' | 'folder' | 'lifecycle' | 'say'> {
  json: boolean;
  faults?: string[];
  plan: boolean;
}

const options = readOptions();
const startedMs = performance.now();
const say = (line: string): void =>
  console.error(`${((performance.now() - startedMs) / 1_000).toFixed(1).padStart(6)} s  ${line}`);
const interruption = endOnSignal(() => say('Stopping…'));

const passed = await main().catch((error: unknown) => {
  if (!interruption.signal.aborted) console.error(messageOf(error));
  return false;
});
process.exit(interruption.signal.aborted ? interruptedExitCode : passed ? 0 : 1);

function readOptions(): Options {
  return new Command('chaos')
    .description(
      'Runs the platform under a mixed load, does everything to it that can happen, and judges what became of every event.',
    )
    .option('--minutes <n>', 'how long the load lasts', wholeNumber(1, 1_440), 2)
    .option(
      '--seed <n>',
      'what is drawn from: the same plays again',
      wholeNumber(0, 2 ** 32 - 1),
      Date.now() % 1_000_000,
    )
    .option('--rate <n>', 'events a second', wholeNumber(1, 1_000), 10)
    .option('--replicas <n>', 'of every service and of the worker', wholeNumber(1, 8), 2)
    .option('--cluster', 'three nats-servers, and three replicas of every stream and bucket', false)
    .option('--sync-always', 'JetStream flushes every write to disk before it acknowledges', false)
    .option('--faults <names>', `of: ${faultNames.join(', ')}`, namesOf(faultNames))
    .option('--plan', 'only print what would be done', false)
    .option('--json', 'print one JSON object', false)
    .parse()
    .opts<Options>();
}

async function main(): Promise<boolean> {
  const { seed, minutes, cluster } = options;
  const kinds = faultKinds.filter(({ name }) => options.faults?.includes(name) ?? true);
  const plan = planFaults({ seed, minutes, kinds, isCluster: cluster });
  const operations = planOperations({ seed, minutes });
  if (options.plan) {
    const all = [
      ...plan.map(({ kind, ...fault }) => ({ fault: kind.name, ...fault })),
      ...operations.map(({ name, ...operation }) => ({ operation: name, ...operation })),
    ];
    console.log(
      JSON.stringify(
        all.sort((a, b) => a.atMs - b.atMs),
        null,
        2,
      ),
    );
    return true;
  }
  say(`seed ${seed}, ${minutes} min, ${plan.length} faults, ${operations.length} operations`);
  const folder = await mkdtemp(join(tmpdir(), 'ironflow-chaos-'));
  const lifecycle = createLifecycle({ logger: createLogger({ service: 'chaos', level: 'silent' }) });
  let keep = false;
  try {
    const report = await interruption.during(
      playChaos({ ...options, plan, operations, folder, lifecycle, say }),
    );
    tell(report);
    keep = report.violations.length + report.failures.length > 0;
    return !keep;
  } catch (error) {
    keep = !interruption.signal.aborted;
    throw error;
  } finally {
    await lifecycle.stop();
    if (keep) say(`kept: ${folder}`);
    else await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

function tell(report: Report): void {
  printReport(report, (line) => console.error(line));
  if (options.json) console.log(JSON.stringify(report, null, 2));
}
