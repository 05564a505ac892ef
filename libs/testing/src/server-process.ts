/**
 * One running server program: its output, its end, and that it does not outlive this process. What the program needs
 * (files, ports, readiness) is its launcher's affair.
 */
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { createInterface } from 'node:readline';

export interface ServerProcess {
  readonly pid: number;
  /** Undefined while it runs. */
  readonly exit: string | undefined;
  /** Settles when it has ended, with how. */
  readonly ended: Promise<string>;
  /** The last lines it wrote. */
  recentOutput(): string;
  /** Asks it to end and insists when it does not within `patienceMs`. */
  stop(signal: NodeJS.Signals, patienceMs: number): Promise<void>;
  kill(): Promise<void>;
}

export interface ServerProcessOptions {
  command: readonly string[];
  /** Beside this process's own variables. */
  env?: Readonly<Record<string, string>>;
  log?: ((line: string) => void) | undefined;
}

/** Enough to hold the reason of a failed start. */
const recentLinesMax = 40;

const running = new Set<ServerProcess>();

export async function startServerProcess({
  command,
  env,
  log,
}: ServerProcessOptions): Promise<ServerProcess> {
  const [program = '', ...args] = command;
  // A process group of its own: Ctrl-C in a terminal reaches the whole group, and would end the server while the
  // program still works off what needs it. That the server ends with us does not depend on the group.
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
    env: { ...process.env, ...env },
  });
  const recent: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      recent.push(line);
      if (recent.length > recentLinesMax) recent.shift();
      log?.(line);
    });
  }
  const pid = await spawned(child);
  letParentEnd(child);

  let exit: string | undefined;
  const ended = new Promise<string>((resolve) => {
    // `close` comes after the last output, so recentOutput() is complete by then.
    child.once('close', (code, signal) => {
      exit = signal === null ? `exit code ${code}` : `signal ${signal}`;
      running.delete(server);
      resolve(exit);
    });
  });
  const server: ServerProcess = {
    pid,
    get exit() {
      return exit;
    },
    ended,
    recentOutput: () => recent.join('\n'),
    stop: async (signal, patienceMs) => {
      if (exit !== undefined) return;
      child.kill(signal);
      const insist = setTimeout(() => child.kill('SIGKILL'), patienceMs);
      await keepingAlive(ended);
      clearTimeout(insist);
    },
    kill: async () => {
      child.kill('SIGKILL');
      await keepingAlive(ended);
    },
  };
  running.add(server);
  watchOwnEnd();
  return server;
}

function spawned(child: ChildProcessByStdio<null, Readable, Readable>): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('spawn', () => {
      child.off('error', reject);
      // Later errors are signals that could not be sent: it has ended, which `close` tells.
      child.on('error', () => undefined);
      resolve(child.pid ?? 0);
    });
  });
}

/** A server serves its launcher: it is no reason for that process to stay. */
function letParentEnd(child: ChildProcessByStdio<null, Readable, Readable>): void {
  child.unref();
  (child.stdout as Socket).unref();
  (child.stderr as Socket).unref();
}

/** Our handles are not counted (see above), so something has to hold the process while it waits for an end. */
async function keepingAlive<T>(waitedFor: Promise<T>): Promise<T> {
  const hold = setInterval(() => undefined, 1_000);
  try {
    return await waitedFor;
  } finally {
    clearInterval(hold);
  }
}

let isWatching = false;

/**
 * The net under a program that ends without stopping its servers. A signal that the program handles itself is left to
 * it; one that nobody else handles would end us without the `exit` event, so it is passed on after the servers.
 */
function watchOwnEnd(): void {
  if (isWatching) return;
  isWatching = true;
  const killAll = () => {
    for (const server of running) {
      try {
        process.kill(server.pid, 'SIGKILL');
      } catch {
        // It has just ended by itself.
      }
    }
  };
  process.once('exit', killAll);
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    const onSignal = () => {
      if (process.listenerCount(signal) > 1) return;
      killAll();
      process.off(signal, onSignal);
      process.kill(process.pid, signal);
    };
    process.on(signal, onSignal);
  }
}
