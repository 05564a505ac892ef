/** `npm start`: the platform with the example, until Ctrl-C. */
import { createWriteStream } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { messageOf } from '@ironflow/errors';
import { runExample } from '@ironflow/example-github-triage';
import { createLifecycle, createLogger, platformVersion } from '@ironflow/service';
import { startPlatform } from './platform.js';

const dataFolder = resolve(process.env['IRONFLOW_DATA'] ?? '.ironflow');
const port = Number(process.env['IRONFLOW_PORT'] ?? 7400);
const say = (line: string): void => console.log(line);

async function main(): Promise<void> {
  await mkdir(dataFolder, { recursive: true, mode: 0o700 });
  const logFile = join(dataFolder, 'services.log');
  const logger = createLogger({
    service: 'platform',
    version: platformVersion,
    level: 'info',
    destination: createWriteStream(logFile, { flags: 'a' }),
  });
  const lifecycle = createLifecycle({ logger });
  const stop = async (exitCode: number): Promise<void> => {
    const failed = await lifecycle.stop().then(
      () => false,
      () => true,
    );
    process.exit(failed ? 1 : exitCode);
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      say('Stopping…');
      process.once(signal, () => process.exit(130));
      void stop(0);
    });
  }
  try {
    const platform = await startPlatform({ dataFolder, env: process.env, lifecycle, logger, say, port });
    say(`Logs of every service: ${logFile}`);
    await runExample({ ...platform, ironflowUrl: platform.url, lifecycle, say, dataFolder });
    say('');
    say('Ironflow is running. Use it from another terminal:');
    say(`  export IRONFLOW_URL=${platform.url}`);
    say(`  export IRONFLOW_API_KEY=${platform.apiKey}`);
    say(`  export IRONFLOW_SIGNING_KEY=${platform.signingKey}`);
    say('  npx ironflow runs list');
    say('Ctrl-C stops it.');
  } catch (error) {
    if (lifecycle.stopping.aborted) return;
    console.error(messageOf(error));
    await stop(1);
  }
}

await main();
