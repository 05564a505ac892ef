// `npm run alerts:test`: the alert rules are valid, and each fires when it should. Without promtool they are not tested, and that is a failure.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { findPromtool } from './promtool.mjs';

const folder = fileURLToPath(new URL('../../deploy/prometheus/', import.meta.url));

try {
  const promtool = await findPromtool({ log: (line) => process.stderr.write(`${line}\n`) });
  for (const what of [
    ['check', 'rules', 'rules.yaml'],
    ['test', 'rules', 'rules.test.yaml'],
  ]) {
    const { status, error } = spawnSync(promtool, what, { cwd: folder, stdio: 'inherit' });
    if (error !== undefined) throw error;
    if (status !== 0) process.exit(status ?? 1);
  }
} catch (error) {
  process.stderr.write(
    `the alerts were not tested: ${error instanceof Error ? error.message : String(error)}\n`,
  );
  process.exitCode = 1;
}
