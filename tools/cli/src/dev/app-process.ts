/**
 * The user's app as a process beside the platform.
 * 1. The command and all it starts are one process group, which ends as a whole before another is started.
 * 2. Restarts that are asked for while one is under way become one more.
 * 3. Nothing starts after `stop`, and nothing outlives this process, unless that is killed with kill -9.
 */
import { spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';

export interface AppProcessOptions {
  /** For the shell. */
  command: string;
  env: NodeJS.ProcessEnv;
  /** Where the app's output goes: our standard output, or standard error when ours is for programs. */
  output: 'stdout' | 'stderr';
  say: (line: string) => void;
}

export interface AppProcess {
  /** Ends it if it runs, and starts it. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/** As long as a worker may take to hand back what it works on; then it is killed, and its steps are taken up again. */
const patienceMs = 5_000;
const pollMs = 20;

export function createAppProcess(options: AppProcessOptions): AppProcess {
  let group: number | undefined;
  let isWanted = false;
  let isStopped = false;
  let restarting: Promise<void> | undefined;

  const launch = (): void => {
    const output = options.output === 'stdout' ? 1 : 2;
    // A group of its own: Ctrl-C reaches us alone, and the app ends before what it needs.
    const child = spawn(options.command, {
      shell: true,
      env: options.env,
      stdio: ['ignore', output, 2],
      detached: true,
    });
    const own = child.pid;
    group = own;
    child.once('error', (error) => options.say(`your app cannot be started: ${error.message}`));
    child.once('exit', (code, signal) => {
      if (group !== own || own === undefined) return;
      // What it started may still run; when nothing does, the number is free for others.
      if (!isAlive(own)) group = undefined;
      options.say(`your app ended (${signal ?? `exit code ${code}`}): it starts again when you save`);
    });
  };
  const end = async (): Promise<void> => {
    const ending = group;
    group = undefined;
    if (ending !== undefined) await endGroup(ending);
  };
  const restartWhileWanted = async (): Promise<void> => {
    while (isWanted && !isStopped) {
      isWanted = false;
      await end();
      if (!isStopped) launch();
    }
    restarting = undefined;
  };
  process.once('exit', () => {
    if (group !== undefined) signalGroup(group, 'SIGKILL');
  });
  return {
    restart: () => {
      isWanted = true;
      restarting ??= restartWhileWanted();
      return restarting;
    },
    stop: async () => {
      isStopped = true;
      await restarting;
      await end();
    },
  };
}

async function endGroup(group: number): Promise<void> {
  signalGroup(group, 'SIGTERM');
  if (await isGone(group)) return;
  signalGroup(group, 'SIGKILL');
  await isGone(group);
}

async function isGone(group: number): Promise<boolean> {
  const deadlineMs = performance.now() + patienceMs;
  while (isAlive(group)) {
    if (performance.now() > deadlineMs) return false;
    await delay(pollMs);
  }
  return true;
}

function isAlive(group: number): boolean {
  return signalGroup(group, 0);
}

function signalGroup(group: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(-group, signal);
  } catch {
    return false;
  }
}
