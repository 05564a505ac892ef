/** `npm run simulation`: many seeds, or one of them with its trace. */
import { Command, InvalidArgumentError } from 'commander';
import { simulate } from './simulation.js';

const program = new Command('simulation')
  .description(
    'Drives the production modules of scheduler, executor, collector and SDK in one process, under virtual time and with ' +
      'injected faults, and checks the invariants (docs/testing.md). A seed always takes the same way.',
  )
  .option('--seeds <count>', 'how many seeds', wholeNumber, 1_000)
  .option('--seed <seed>', 'the first of them', wholeNumber, 1)
  .option('--calm', 'without faults', false)
  .option('--trace', 'print what happens in the first seed, and run no other', false);
program.parse();
const options = program.opts<{ seeds: number; seed: number; calm: boolean; trace: boolean }>();
const print = (line: string): void => void process.stdout.write(`${line}\n`);
const isFaulty = !options.calm;
const milliseconds = (): number => Number(process.hrtime.bigint() / 1_000_000n);

if (options.trace) {
  const { trace, violations } = await simulate({ seed: options.seed, isFaulty, isTraced: true });
  for (const line of trace) print(line);
  process.exit(violations.length === 0 ? 0 : 1);
}

const beganAtMs = milliseconds();
let runs = 0;
const failed: number[] = [];
for (let seed = options.seed; seed < options.seed + options.seeds; seed += 1) {
  const result = await simulate({ seed, isFaulty });
  runs += result.runs;
  if (result.violations.length === 0) continue;
  failed.push(seed);
  print(`seed ${seed}: ${result.violations[0]}`);
}
const seconds = (milliseconds() - beganAtMs) / 1_000;
const perMinute = Math.round((options.seeds / seconds) * 60);
print(
  `${options.seeds} seeds, ${runs} runs, ${seconds.toFixed(1)} s: ${perMinute} seeds a minute; ${failed.length} failed`,
);
if (failed.length > 0) {
  const more = options.calm ? ' --calm' : '';
  print(`what happens in the first of them: npm run simulation -- --seed ${failed[0]} --trace${more}`);
}
process.exit(failed.length === 0 ? 0 : 1);

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new InvalidArgumentError('must be a whole number');
  return value;
}
