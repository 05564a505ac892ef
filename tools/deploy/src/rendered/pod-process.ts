/**
 * One pod: its container is started, asked, started anew when it ends by itself, and ended as a kubelet ends it: taken out of its Services,
 * preStop, SIGTERM, and SIGKILL when the grace is over.
 */
import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chown, mkdir, open, rm, writeFile } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { eventually } from '@ironflow/testing';
import { firstChildOf } from './first-child.js';
import type { PodNetwork } from './network.js';
import type { Pod } from './pods.js';
import { watchContainer } from './probes.js';
import { containerEnv, sandboxScript } from './sandbox.js';
import type { LocalImage } from './sandbox.js';

export interface PodOptions {
  pod: Pod;
  image: LocalImage;
  network: PodNetwork;
  /** Of all pods: each has a folder of its own inside, with its log. */
  folder: string;
  hostsFile: string;
  say: (line: string) => void;
}

export interface RunningPod {
  readonly pod: Pod;
  readonly address: string;
  readonly isReady: boolean;
  /** How often the container was started anew. */
  readonly restarts: number;
  /** Resolves with how the container ended, and how long it took. */
  stop(): Promise<PodEnd>;
  /** As a node that is lost. With `wipe` what it has claimed is lost too. */
  kill(options?: { wipe?: boolean }): Promise<void>;
  /** Of a Job: how the container ended by itself. */
  readonly ended: Promise<number>;
}

export interface PodEnd {
  exitCode: number;
  seconds: number;
  /** The grace was not enough. */
  wasKilled: boolean;
}

const run = promisify(execFile);
/** A kubelet waits longer from time to time; here something that does not start has to be seen. */
const restartAfterMs = 1_000;
const restartsMax = 30;

export async function startPod(options: PodOptions, isJob = false): Promise<RunningPod> {
  const { pod, network } = options;
  const log = await prepare(options);
  const address = network.addressOf(pod.name);
  const namespace = await network.add(pod.name);
  const state = { isReady: false, restarts: 0, isEnding: false };
  let child: ChildProcess;
  let watching = new AbortController();
  let onEnd: (exitCode: number) => void = () => undefined;
  const ended = new Promise<number>((resolve) => (onEnd = resolve));
  const launch = (): void => {
    child = spawnContainer(options, namespace, log.fd);
    watching = new AbortController();
    const watched = { container: pod.container, address, signal: watching.signal };
    void watchContainer(watched, {
      onReady: (isReady) => (state.isReady = isReady && !state.isEnding),
      onDead: (why) => {
        options.say(`${pod.name} is started anew: ${why}`);
        signalContainer(child, 'SIGKILL');
      },
    });
    child.once('exit', (code, signal) => onExit(code, signal));
  };
  const onExit = (code: number | null, signal: NodeJS.Signals | null): void => {
    watching.abort();
    state.isReady = false;
    onEnd(code ?? 1);
    if (state.isEnding || isJob) return;
    options.say(`${pod.name} ended by itself: ${signal ?? `exit code ${code}`}`);
    if (state.restarts === restartsMax) return;
    state.restarts += 1;
    setTimeout(() => {
      if (!state.isEnding) launch();
    }, restartAfterMs);
  };
  const remove = async (): Promise<void> => {
    await network.remove(pod.name);
    await log.close();
  };
  launch();
  return {
    pod,
    address,
    ended,
    get isReady() {
      return state.isReady;
    },
    get restarts() {
      return state.restarts;
    },
    stop: async () => {
      [state.isEnding, state.isReady] = [true, false];
      const end = await endContainer(child, options);
      await remove();
      return end;
    },
    kill: async ({ wipe = false } = {}) => {
      [state.isEnding, state.isReady] = [true, false];
      const exited = hasExited(child) ? undefined : once(child, 'exit');
      signalContainer(child, 'SIGKILL');
      await exited;
      await remove();
      if (wipe) await rm(claimsFolder(options), { recursive: true, force: true });
    },
  };
}

const claimsFolder = ({ folder, pod }: PodOptions): string => join(folder, pod.name, 'claims');
const filesFolder = ({ folder, pod }: PodOptions): string => join(folder, pod.name, 'files');

/** Its files, its folders, its log. */
async function prepare(options: PodOptions): Promise<FileHandle> {
  const { pod, folder } = options;
  const { mounts, group, user } = pod.container;
  for (const [index, mount] of mounts.entries()) {
    const own = join(filesFolder(options), String(index));
    if (mount.kind === 'claim') {
      await mkdir(join(claimsFolder(options), mount.claim), { recursive: true });
      await chown(join(claimsFolder(options), mount.claim), user, group);
    }
    if (mount.kind !== 'files') continue;
    await rm(own, { recursive: true, force: true });
    for (const { path, content } of mount.files) {
      await mkdir(dirname(join(own, path)), { recursive: true });
      await writeFile(join(own, path), content, { mode: mount.mode });
      // As Kubernetes does with fsGroup.
      await chown(join(own, path), 0, group);
    }
  }
  const root = join(folder, pod.name, 'root');
  await mkdir(root, { recursive: true });
  await writeFile(
    join(folder, pod.name, 'start.sh'),
    sandboxScript({
      container: pod.container,
      image: options.image,
      root,
      filesFolder: filesFolder(options),
      claimFolder: (claim) => join(claimsFolder(options), claim),
      hostsFile: options.hostsFile,
    }),
  );
  return open(join(folder, pod.name, 'log'), 'a');
}

function spawnContainer({ pod, image, folder }: PodOptions, namespace: string, log: number): ChildProcess {
  const script = join(folder, pod.name, 'start.sh');
  const enter = ['nsenter', `--net=${namespace}`, 'unshare', '--mount', '--pid', '--fork', '--kill-child'];
  const [program = '', ...args] = [...enter, 'bash', script];
  return spawn(program, args, { stdio: ['ignore', log, log], env: containerEnv(pod.container, image) });
}

async function endContainer(child: ChildProcess, options: PodOptions): Promise<PodEnd> {
  const { pod } = options;
  const startedMs = performance.now();
  if (hasExited(child)) return { exitCode: child.exitCode ?? 1, seconds: 0, wasKilled: false };
  const exited = once(child, 'exit') as Promise<[number | null]>;
  let wasKilled = false;
  // The grace counts from here, preStop included.
  const timer = setTimeout(() => {
    wasKilled = true;
    signalContainer(child, 'SIGKILL');
  }, pod.graceSeconds * 1_000);
  await preStop(child, options);
  signalContainer(child, 'SIGTERM');
  const [exitCode] = await exited;
  clearTimeout(timer);
  const seconds = Math.round((performance.now() - startedMs) / 100) / 10;
  return { exitCode: exitCode ?? 1, seconds, wasKilled };
}

async function preStop(child: ChildProcess, { pod: { container }, image }: PodOptions): Promise<void> {
  const { preStop: hook, user, group } = container;
  if (hook?.sleep !== undefined) await delay(hook.sleep.seconds * 1_000);
  const target = firstChildOf(child.pid ?? 0);
  if (hook?.exec === undefined || target === undefined) return;
  const enter = ['--target', String(target), '--mount', '--net', '--pid', '--root', '--wd'];
  const asItself = [`--setuid=${user}`, `--setgid=${group}`];
  const env = containerEnv(container, image);
  // One that fails keeps nothing from being stopped.
  await run('nsenter', [...enter, ...asItself, ...hook.exec.command], { env }).catch(() => undefined);
}

function signalContainer(child: ChildProcess, signal: NodeJS.Signals): void {
  const target = firstChildOf(child.pid ?? 0);
  if (target !== undefined) process.kill(target, signal);
}

function hasExited({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null;
}

export function becomesReady(pod: RunningPod, withinMs: number): Promise<void> {
  return eventually(
    () => {
      if (!pod.isReady) throw new Error(`it was started anew ${pod.restarts} times`);
    },
    { timeoutMs: withinMs, intervalMs: 100, description: `${pod.pod.name} to be ready` },
  );
}
