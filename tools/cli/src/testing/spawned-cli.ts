/** The built CLI as a process of its own, for what only a process shows: signals, exit codes, what is left behind. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { eventually } from '@ironflow/testing';

export interface SpawnedCli {
  readonly pid: number;
  /** Standard output and standard error so far. */
  text(): string;
  /** Waits for a line that matches; gives the match. */
  says(pattern: RegExp): Promise<RegExpExecArray>;
  signal(signal: NodeJS.Signals): void;
  ended(): Promise<number | string>;
}

const bin = fileURLToPath(new URL('../../bin/ironflow.js', import.meta.url));
const saidWithinMs = 60_000;

export function spawnCli(args: string[], options: { cwd: string; env?: NodeJS.ProcessEnv }): SpawnedCli {
  const child = spawn(process.execPath, [bin, ...args], {
    cwd: options.cwd,
    // A runner that forces colours would have them between the words that are looked for; servers of the developer's own
    // are left alone.
    env: {
      ...process.env,
      NODE_OPTIONS: '',
      FORCE_COLOR: '0',
      DATABASE_URL: '',
      NATS_URL: '',
      ...options.env,
    },
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
    pid: child.pid!,
    text: () => text,
    says: (pattern) => eventually(() => find(pattern), { timeoutMs: saidWithinMs, intervalMs: 20 }),
    signal: (signal) => void child.kill(signal),
    ended: () => ended,
  };
}

export function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
