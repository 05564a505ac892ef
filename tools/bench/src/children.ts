/** Programs of this folder as processes of their own, which say when they are ready. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

export interface Child {
  readonly pid: number;
  /** What it said when it was ready. */
  readonly message: unknown;
  end(signal: NodeJS.Signals): Promise<void>;
}

export async function startChild(name: string, env: NodeJS.ProcessEnv): Promise<Child> {
  const child = fork(fileURLToPath(new URL(`./${name}.js`, import.meta.url)), {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const failed = once(child, 'exit').then(() => {
    throw new Error(`${name} ended before it was ready`);
  });
  const [message] = (await Promise.race([once(child, 'message'), failed])) as [unknown];
  failed.catch(() => undefined);
  return {
    pid: child.pid ?? 0,
    message,
    end: async (signal) => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, 'exit');
      child.kill(signal);
      await exited;
    },
  };
}
