/**
 * Flow control under load and kill -9: concurrency, rate limits and throttles, each on a real platform in processes of its own, judged
 * by what the functions saw themselves and by an oracle. What a failed show leaves (ledger, logs, data) is kept.
 */
import { Command } from 'commander';
import type { PlatformOptions } from '@ironflow/platform';
import { showConcurrency } from './flow-concurrency.js';
import { showRateLimit, showThrottle } from './flow-rate-shows.js';
import { setFlowScene } from './flow-scene.js';
import type { FlowScene } from './flow-scene.js';
import { namesOf, wholeNumber } from './option-values.js';
import { createProgram } from './program.js';

interface Options {
  only?: string[];
  runs: number;
  keys: number;
  arrivals: number;
  json: boolean;
  smoke: boolean;
}

interface Show {
  name: string;
  processes: NonNullable<PlatformOptions['processes']>;
  workers: number;
  play(scene: FlowScene): Promise<{ failures: string[] }>;
}

const schedulers = { replicas: 2, replicasOf: { scheduler: 3 } };
const shows: Show[] = [
  {
    name: 'concurrency',
    processes: { replicas: 2 },
    workers: 3,
    play: (scene) => showConcurrency(scene, options),
  },
  {
    name: 'throttle',
    processes: schedulers,
    workers: 2,
    play: (scene) => showThrottle(scene, options.arrivals),
  },
  {
    name: 'rate-limit',
    processes: schedulers,
    workers: 2,
    play: (scene) => showRateLimit(scene, options.arrivals),
  },
];
const options = readOptions();
const program = createProgram('flow');

await program.run(main);

function readOptions(): Options {
  const names = shows.map(({ name }) => name);
  const given = new Command('flow')
    .description(
      'Shows limits of concurrency and rates under load, while executors, workers and schedulers are killed.',
    )
    .option('--only <names>', `of: ${names.join(', ')}`, namesOf(names))
    .option('--runs <n>', 'of the show of concurrency', wholeNumber(100, 1_000_000), 20_000)
    .option('--keys <n>', 'over which they are spread', wholeNumber(1, 10_000), 200)
    .option('--arrivals <n>', 'of the shows of rates', wholeNumber(100, 1_000_000), 10_000)
    .option('--smoke', '2,000 runs over 40 keys, 2,000 arrivals', false)
    .option('--json', 'print JSON', false)
    .parse()
    .opts<Options>();
  return given.smoke ? { ...given, runs: 2_000, keys: 40, arrivals: 2_000 } : given;
}

async function main(): Promise<boolean> {
  const results: Record<string, { failures: string[] }> = {};
  for (const show of shows.filter(({ name }) => options.only?.includes(name) ?? true)) {
    const result = await play(show);
    results[show.name] = result;
    if (!options.json) console.log(`${show.name} ${JSON.stringify(result, null, 2)}`);
  }
  if (options.json) console.log(JSON.stringify(results, null, 2));
  return Object.values(results).every(({ failures }) => failures.length === 0);
}

function play(show: Show): Promise<{ failures: string[] }> {
  return program.onStage(async (stage) => {
    stage.isKept = true;
    const result = await show.play(await setFlowScene(stage, show));
    stage.isKept = result.failures.length > 0;
    return result;
  });
}
