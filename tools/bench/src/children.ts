/** Programs as processes of their own, which say when they are ready and end with this one. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { endWithParentArguments, isolatedEnv } from '@ironflow/platform';
import type { Platform } from '@ironflow/platform';

export interface Child {
  readonly pid: number;
  /** What it said when it was ready. */
  readonly message: unknown;
  end(signal: NodeJS.Signals): Promise<void>;
}

const readyWithinMs = 60_000;

/** With what an app finds its platform. */
export function appEnvOf(of: Pick<Platform, 'url' | 'apiKey' | 'signingKey'>): NodeJS.ProcessEnv {
  return { IRONFLOW_URL: of.url, IRONFLOW_API_KEY: of.apiKey, IRONFLOW_SIGNING_KEY: of.signingKey };
}

export async function startChild(program: URL, env: NodeJS.ProcessEnv): Promise<Child> {
  const path = fileURLToPath(program);
  const name = basename(path, '.js');
  const child = fork(path, {
    env: { ...isolatedEnv(process.env), ...env },
    execArgv: [...endWithParentArguments],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    // A group of its own: Ctrl-C in a terminal reaches us alone, and we end it in its turn.
    detached: true,
  });
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill(signal);
    const insist = setTimeout(() => child.kill('SIGKILL'), 10_000);
    await exited;
    clearTimeout(insist);
  };
  const deadline = AbortSignal.timeout(readyWithinMs);
  const failed = once(child, 'exit', { signal: deadline }).then(() => {
    throw new Error(`${name} ended before it was ready`);
  });
  failed.catch(() => undefined);
  try {
    const [message] = (await Promise.race([once(child, 'message', { signal: deadline }), failed])) as [
      unknown,
    ];
    return { pid: child.pid ?? 0, message, end };
  } catch (error) {
    await end('SIGKILL');
    if (!deadline.aborted) throw error;
    throw new Error(`${name} was not ready within ${readyWithinMs / 1_000} s`, { cause: error });
  }
}
