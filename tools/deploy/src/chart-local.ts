/**
 * `npm run chart:local`: what the chart renders for production, as processes of this machine, under load and while something is done to them.
 * Each container is what is rendered: its command, its environment, its files, its user, a read-only root, its probes and its end.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { wholeNumber } from '@ironflow/bench';
import { messageOf } from '@ironflow/errors';
import { endOnSignal, interruptedExitCode } from '@ironflow/platform';
import { createLifecycle, createLogger } from '@ironflow/service';
import { renderChart } from './rendered/chart.js';
import { play } from './rendered/play.js';
import type { PlayReport } from './rendered/play.js';
import {
  isInPrivateNamespace,
  obstacleToNamespaces,
  runInPrivateNamespace,
} from './rendered/private-namespace.js';

interface Options {
  manifest?: string;
  perSecond: number;
  phaseSeconds: number;
  keep: boolean;
}

const startedMs = performance.now();
const say = (line: string): void =>
  console.error(`${((performance.now() - startedMs) / 1_000).toFixed(1).padStart(6)} s  ${line}`);
const options = readOptions();

process.exit(isInPrivateNamespace() ? await playHere() : await startInNamespace());

function readOptions(): Options {
  return new Command('chart-local')
    .description(
      'Runs what the chart renders as processes of this machine, and checks that nothing is lost. Prints one JSON object.',
    )
    .option('--manifest <file>', 'what `helm template` has written; by default the chart is rendered')
    .option('--per-second <n>', 'events', wholeNumber(1, 1_000), 10)
    .option('--phase-seconds <n>', 'how long each phase lasts', wholeNumber(1, 3_600), 15)
    .option('--keep', 'keep logs and ledger also when all went well and nothing began again', false)
    .parse()
    .opts<Options>();
}

/** What may need a network or the machine's programs is done before there are none. */
async function startInNamespace(): Promise<number> {
  const obstacle = obstacleToNamespaces();
  if (obstacle !== undefined) {
    console.error(`chart:local cannot be run here: ${obstacle}`);
    return 2;
  }
  const folder = await mkdtemp(join(tmpdir(), 'ironflow-rendered-'));
  try {
    const manifest = options.manifest ?? join(folder, 'manifest.yaml');
    if (options.manifest === undefined) await writeFile(manifest, await renderChart(say));
    const { perSecond, phaseSeconds, keep } = options;
    const args = ['--manifest', manifest, '--per-second', perSecond, '--phase-seconds', phaseSeconds];
    return await runInPrivateNamespace([...args.map(String), ...(keep ? ['--keep'] : [])]);
  } catch (error) {
    console.error(messageOf(error));
    return 1;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function playHere(): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), 'ironflow-chart-local-'));
  const lifecycle = createLifecycle({ logger: createLogger({ service: 'chart-local', level: 'silent' }) });
  const interruption = endOnSignal(() => say('Stopping…'));
  let isKept = true;
  try {
    const manifest = await readFile(options.manifest!, 'utf8');
    const report = await interruption.during(play({ ...options, manifest, folder, lifecycle, say }));
    tell(report);
    const isOk = report.failures.length === 0;
    // Which steps began again, and why, is in there.
    const hasRepeats = report.natsNode.repeats + report.executors.repeats > 0;
    isKept = !isOk || hasRepeats || options.keep;
    return isOk ? 0 : 1;
  } catch (error) {
    isKept = !interruption.signal.aborted;
    if (isKept) console.error(messageOf(error));
    return isKept ? 1 : interruptedExitCode;
  } finally {
    await lifecycle.stop().catch((error: unknown) => say(messageOf(error)));
    if (isKept) say(`kept: ${folder}`);
    else await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

function tell(report: PlayReport): void {
  console.log(JSON.stringify(report, null, 2));
  for (const failure of report.failures) say(failure);
}
