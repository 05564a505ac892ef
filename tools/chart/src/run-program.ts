/** A program, run to its end. */
import { spawn } from 'node:child_process';
import { IronflowError } from '@ironflow/errors';

export interface RunOptions {
  args: readonly string[];
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  /** For its standard input. */
  input?: string;
  signal?: AbortSignal;
}

/** Its standard output; rejects with what it said on standard error when it fails. */
export async function runProgram(program: string, options: RunOptions): Promise<string> {
  const { args, cwd, env, input = '', signal } = options;
  const child = spawn(program, args, { cwd, signal, env: { ...process.env, ...env } });
  let out = '';
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
  // Whoever ends early says why by its exit code.
  child.stdin.on('error', () => undefined).end(input);
  const code = await new Promise<number | string>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (exitCode, endSignal) => resolve(exitCode ?? endSignal ?? 'nothing'));
  });
  if (code === 0) return out;
  // Some tools report on standard output.
  const reason = [said, out].map((text) => text.trim()).find((text) => text !== '') ?? '';
  throw new IronflowError('internal', 'program_failed', `${program} ended with ${code}: ${reason}`);
}

export function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}
