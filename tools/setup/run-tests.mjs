// `npm test`: the set-up scripts' own tests, then every package's, one at a time since most of them start servers. Arguments go to Nx, such as `--projects=@ironflow/sdk`.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const workspace = fileURLToPath(new URL('../../', import.meta.url));
const nx = `${workspace}node_modules/.bin/nx`;

const setup = `${workspace}tools/setup/`;
const ownTests = readdirSync(setup).filter((name) => name.endsWith('.test.mjs'));
run(process.execPath, ['--test', ...ownTests.map((name) => `${setup}${name}`)]);
// Fetching it takes longer than a test may.
run(process.execPath, [`${setup}nats-server.mjs`]);
run(nx, ['run-many', '--target=test', '--parallel=2', '--output-style=static', ...process.argv.slice(2)]);

function run(command, args) {
  const { status } = spawnSync(command, args, {
    cwd: workspace,
    stdio: 'inherit',
    env: { ...process.env, NX_DAEMON: 'false', NX_TUI: 'false' },
  });
  if (status !== 0) process.exit(status ?? 1);
}
