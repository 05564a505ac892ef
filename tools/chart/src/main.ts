/**
 * `npm run chart:test`: the chart, rendered and judged; with `--cluster` installed on a control plane that is made for it. It prints what was
 * checked, and how long that took.
 */
import { Command } from 'commander';
import { messageOf } from '@ironflow/errors';
import { endOnSignal, interruptedExitCode } from '@ironflow/platform';
import { chartChecks } from './checks.js';
import type { Check } from './checks.js';
import { clusterChecks } from './cluster/checks.js';
import { openHelm } from './helm.js';

interface Options {
  cluster: boolean;
  onlyCluster: boolean;
  json: boolean;
}

interface Outcome {
  check: string;
  passed: boolean;
  detail: string;
  seconds: number;
}

const interruption = endOnSignal(() => say('Stopping…'));
const passed = await main(readOptions()).catch((error: unknown) => {
  if (!interruption.signal.aborted) say(messageOf(error));
  return false;
});
process.exit(interruption.signal.aborted ? interruptedExitCode : passed ? 0 : 1);

function readOptions(): Options {
  return new Command('chart:test')
    .description('Renders the Helm chart with many sets of values, and judges what comes of them.')
    .option(
      '--cluster',
      'installs, upgrades and removes it on a control plane with simulated nodes as well',
      false,
    )
    .option('--only-cluster', 'nothing but that', false)
    .option('--json', 'print one JSON object', false)
    .parse()
    .opts<Options>();
}

function say(line: string): void {
  console.error(line);
}

async function main({ cluster, onlyCluster, json }: Options): Promise<boolean> {
  const helm = await openHelm(say);
  const outcomes: Outcome[] = [];
  if (!onlyCluster) {
    for (const check of chartChecks(helm)) outcomes.push(await judge(check));
  }
  if (cluster || onlyCluster) {
    const { checks, stop } = await interruption.during(clusterChecks(helm, say));
    try {
      for (const check of checks) {
        outcomes.push(await judge(check));
        // What comes later stands on what was before.
        if (!outcomes.at(-1)!.passed) break;
      }
    } finally {
      await stop();
    }
  }
  const isRight = outcomes.every(({ passed }) => passed);
  if (json) console.log(JSON.stringify({ passed: isRight, outcomes }, null, 2));
  return isRight;
}

async function judge({ name, run }: Check): Promise<Outcome> {
  const startedMs = performance.now();
  const outcome = await interruption.during(run(say)).then(
    (detail) => ({ passed: true, detail }),
    (error: unknown) => ({ passed: false, detail: messageOf(error) }),
  );
  interruption.signal.throwIfAborted();
  const seconds = Math.round((performance.now() - startedMs) / 100) / 10;
  say(`${outcome.passed ? 'ok  ' : 'FAIL'}  ${String(seconds).padStart(6)} s  ${name}: ${outcome.detail}`);
  return { check: name, ...outcome, seconds };
}
