// `npm run mutants`: plants one bug after the other in a scratch copy, and says which suite, test and seed finds it. One that
// nothing finds has survived: its invariant is not shown.
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { mutants, smoke } from './table.mjs';

const workspace = fileURLToPath(new URL('../../', import.meta.url));
const help = `npm run mutants -- [options]

  --only <ids>   those with these ids, separated by commas
  --smoke        a few quick ones
  --list         what there is, and which suites are expected to find it
  --json         print the outcomes as JSON
  --help
Ends with 1 if a mutant survives.`;
const { values: options } = parseArgs({
  options: {
    only: { type: 'string' },
    smoke: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

const suiteTimeoutMs = 900_000;
const chosen = choose();
if (options.help) print(help);
else if (options.list)
  for (const { id, invariant, suites } of chosen) print(`${id}: ${invariant}\n    ${suites.join(', ')}`);
else process.exitCode = runAll();

function choose() {
  const ids = options.only?.split(',') ?? (options.smoke ? smoke : mutants.map(({ id }) => id));
  return ids.map((id) => mutants.find((mutant) => mutant.id === id) ?? refuse(`there is no mutant "${id}"`));
}

function runAll() {
  const scratch = mkdtempSync(join(tmpdir(), 'ironflow-mutants-'));
  process.on('exit', () => rmSync(scratch, { recursive: true, force: true }));
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));
  copyWorkspace(scratch);
  const outcomes = chosen.map((mutant) => runOne(scratch, mutant));
  if (options.json) print(JSON.stringify(outcomes, null, 2));
  const survived = outcomes.filter(({ killedBy }) => killedBy === undefined);
  if (!options.json) print(`${outcomes.length - survived.length} of ${outcomes.length} mutants were found`);
  return survived.length === 0 ? 0 : 1;
}

/** The sources as they are now; packages find each other in the copy, and everything else where it is installed. */
function copyWorkspace(scratch) {
  const listed = git(['ls-files', '--cached', '--others', '--exclude-standard']).split('\n').filter(Boolean);
  for (const file of [...listed, 'libs/database/src/generated']) {
    mkdirSync(dirname(join(scratch, file)), { recursive: true });
    cpSync(join(workspace, file), join(scratch, file), { recursive: true });
  }
  const modules = join(scratch, 'node_modules');
  mkdirSync(join(modules, '@ironflow'), { recursive: true });
  for (const name of readdirSync(join(workspace, 'node_modules'))) {
    if (name !== '@ironflow') symlinkSync(join(workspace, 'node_modules', name), join(modules, name));
  }
  for (const file of listed.filter((name) => name.endsWith('package.json') && name.includes('/'))) {
    const { name } = JSON.parse(readFileSync(join(workspace, file), 'utf8'));
    if (name?.startsWith('@ironflow/')) symlinkSync(join(scratch, dirname(file)), join(modules, name));
    // Of what it needs in another version than the rest.
    const own = join(dirname(file), 'node_modules');
    if (existsSync(join(workspace, own))) symlinkSync(join(workspace, own), join(scratch, own));
  }
}

function runOne(scratch, { id, invariant, file, search, replace, suites }) {
  const path = join(scratch, file);
  const source = readFileSync(path, 'utf8');
  const places = source.split(search).length - 1;
  if (places !== 1) refuse(`${id}: its text stands ${places} times in ${file}`);
  const beganAtMs = Date.now();
  writeFileSync(
    path,
    source.replace(search, () => replace),
  );
  let killedBy;
  try {
    for (const suite of suites) killedBy ??= findWith(scratch, suite);
  } finally {
    writeFileSync(path, source);
  }
  const seconds = Math.round((Date.now() - beganAtMs) / 1_000);
  const found =
    killedBy === undefined
      ? 'SURVIVED'
      : `found by ${killedBy.suite}: ${[killedBy.test, killedBy.details].filter(Boolean).join('; ')}`;
  if (!options.json) print(`${id} (${invariant}): ${found}, ${seconds} s`);
  return { id, invariant, seconds, killedBy };
}

/** The first test that fails, with the seed if it names one. */
function findWith(scratch, suite) {
  const [room, name, ...rest] = suite.split('/');
  const report = join(scratch, 'report.json');
  rmSync(report, { force: true });
  const jest = join(workspace, 'node_modules', 'jest', 'bin', 'jest.js');
  const flags = ['--experimental-vm-modules', '--no-warnings', jest, rest.join('/'), '--bail', '--forceExit'];
  const { status } = spawnSync(process.execPath, [...flags, '--json', `--outputFile=${report}`], {
    cwd: join(scratch, room, name),
    stdio: 'ignore',
    timeout: suiteTimeoutMs,
    env: { ...process.env, SIMULATION_SEEDS: '60' },
  });
  if (status === 0) return undefined;
  if (status === null) {
    process.stderr.write(`${suite} did not end within ${suiteTimeoutMs / 1_000} s, which shows nothing\n`);
    return undefined;
  }
  const { testResults } = JSON.parse(readFileSync(report, 'utf8'));
  const failed = testResults.flatMap((one) => one.assertionResults).find((one) => one.status === 'failed');
  // A bug that keeps a suite from starting at all shows nothing.
  if (failed === undefined)
    refuse(`${suite} did not run: ${testResults.map((one) => one.message).join('\n')}`);
  const text = failed.failureMessages.join('\n').replaceAll(/\u001b\[\d+m/g, '');
  const seed = /"seed": (\d+)/.exec(text)?.[1];
  const violation = /"((?:I\d+|trim|fencing|result): [^"]*)"/.exec(text)?.[1];
  const details = [seed && `seed ${seed}`, violation].filter(Boolean).join(', ');
  return {
    suite,
    test: failed.title,
    ...(seed === undefined ? {} : { seed: Number(seed) }),
    ...(details && { details }),
  };
}

function git(args) {
  return spawnSync('git', args, { cwd: workspace, encoding: 'utf8' }).stdout;
}

function refuse(message) {
  process.stderr.write(`${message}\n`);
  process.exit(2);
}

function print(text) {
  process.stdout.write(`${text}\n`);
}
