/** The platform as `npm start` and `ironflow up` run it, in a process of its own; from what is built. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { eventually } from '@ironflow/testing';

export interface PlatformProcess {
  /** Standard output and standard error so far. */
  text(): string;
  /** Waits for a line that matches; gives the match. */
  says(pattern: RegExp): Promise<RegExpExecArray>;
  signal(signal: NodeJS.Signals): void;
  /** The exit code, or the signal that ended it. */
  ended(): Promise<number | string>;
}

const program = `
  const { runPlatform } = await import('${new URL('../../dist/index.js', import.meta.url).href}');
  const [dataFolder, port] = process.argv.slice(1);
  await runPlatform({ dataFolder, port: Number(port), say: (line) => console.log(line) });`;
const saidWithinMs = 30_000;

export function spawnPlatform(options: {
  dataFolder: string;
  port?: number;
  env?: NodeJS.ProcessEnv;
}): PlatformProcess {
  const args = ['--input-type=module', '--eval', program, options.dataFolder, String(options.port ?? 0)];
  const child = spawn(process.execPath, args, {
    env: { ...process.env, NODE_OPTIONS: '', DATABASE_URL: '', NATS_URL: '', ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  }
  const ended = once(child, 'close').then(([code, signal]) => (code ?? signal) as number | string);
  const find = (pattern: RegExp): RegExpExecArray => {
    const match = pattern.exec(text);
    if (match === null) throw new Error(`it did not say ${String(pattern)}, but:\n${text}`);
    return match;
  };
  return {
    text: () => text,
    says: (pattern) => eventually(() => find(pattern), { timeoutMs: saidWithinMs, intervalMs: 20 }),
    signal: (signal) => void child.kill(signal),
    ended: () => ended,
  };
}
