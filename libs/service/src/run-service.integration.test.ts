import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { build } from 'esbuild';

let folder: string;
let program: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ironflow-service-'));
  program = join(folder, 'service.cjs');
  await build({
    stdin: { contents: serviceSource, resolveDir: import.meta.dirname, loader: 'ts' },
    bundle: true,
    platform: 'node',
    format: 'cjs',
    conditions: ['@ironflow/source'],
    outfile: program,
    logLevel: 'error',
  });
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** What it does is told by its first argument. */
const serviceSource = `
import { createLogger } from './logger.js';
import { runService } from './run-service.js';
const mode = process.argv[2];
void runService({
  name: 'probe',
  logger: createLogger({ service: 'probe' }),
  start: async (lifecycle) => {
    setInterval(() => {}, 1_000);
    if (mode === 'bad start') throw new Error('no port');
    lifecycle.onStop('part', () => (mode === 'stuck' ? new Promise(() => {}) : undefined));
    if (mode === 'broken') setTimeout(() => { throw new Error('broken invariant'); }, 1);
  },
});
`;

interface Outcome {
  exitCode: number | null;
  messages: string[];
}

/** Runs it, and sends the first signal once it is ready and the second once it stops. */
async function runProgram(mode: string, signals: NodeJS.Signals[] = []): Promise<Outcome> {
  const child = spawn(process.execPath, [program, mode], { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(child, 'exit') as Promise<[number | null]>;
  const messages: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    const { msg } = JSON.parse(line) as { msg: string };
    messages.push(msg);
    const signal = msg === 'probe is ready' || msg === 'probe stops' ? signals.shift() : undefined;
    if (signal !== undefined) child.kill(signal);
  }
  return { exitCode: (await exited)[0], messages };
}

test('a real process ends with 0 after SIGTERM, its last line written', async () => {
  const { exitCode, messages } = await runProgram('fine', ['SIGTERM']);
  expect(exitCode).toBe(0);
  expect(messages).toEqual(['probe is ready', 'probe stops', 'probe stopped']);
});

test('a second signal ends a real process that is stuck', async () => {
  const { exitCode } = await runProgram('stuck', ['SIGINT', 'SIGTERM']);
  expect(exitCode).toBe(143);
});

test('a failed start and an uncaught error end a real process with 1 and say why', async () => {
  expect(await runProgram('bad start')).toEqual({
    exitCode: 1,
    messages: ['probe failed to start', 'probe stopped'],
  });
  const broken = await runProgram('broken');
  expect(broken.exitCode).toBe(1);
  expect(broken.messages).toContain('probe broke: uncaughtException');
});
