// Builds what runs: the Prisma client, then every package that is a program, with all it stands on. Nothing to do: a second.
import { spawnSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const workspace = fileURLToPath(new URL('../../', import.meta.url));
const at = (path) => `${workspace}${path}`;

const model = at('libs/database/prisma/schema.prisma');
const client = at('libs/database/src/generated/client.ts');
if (!existsSync(client) || statSync(client).mtimeMs < statSync(model).mtimeMs) {
  run('npm', ['run', '--silent', 'generate', '--workspace', '@ironflow/database']);
}
const programs = [
  'tools/platform',
  'tools/cli',
  'tools/bench',
  'tools/chaos',
  'tools/deploy',
  'tools/simulation',
  'tools/chart',
  'tools/examples/github-triage',
];
run(process.execPath, [
  at('node_modules/typescript/bin/tsc'),
  '--build',
  ...programs.map((program) => at(`${program}/tsconfig.lib.json`)),
]);

function run(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: workspace, stdio: 'inherit' });
  if (error !== undefined) console.error(`${command} cannot be run: ${error.message}`);
  if (status !== 0) process.exit(status ?? 1);
}
