/**
 * Every service as processes of its own, in as many replicas as asked for, behind the gateway. For faults and benchmarks.
 * No process outlives this one, however it ends, and none is started once the lifecycle stops.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '@ironflow/testing';
import type { Lifecycle } from '@ironflow/service';
import { startGateway } from './gateway.js';
import { endWithParentArguments, serviceNodeArguments } from './node-arguments.js';
import { serviceNames } from './services.js';
import type { ServiceName } from './services.js';

export interface FleetOptions {
  /** The services' environment variables, without PORT. */
  env: NodeJS.ProcessEnv;
  lifecycle: Lifecycle;
  replicas: number;
  /** Where a service has another number of them. */
  replicasOf?: Partial<Record<ServiceName, number>>;
  host: string;
  port: number;
  /** Where each process writes its log. */
  logFolder: string;
  /** Where the services are built; these by default. */
  workspace?: string;
}

export interface FleetMember {
  service: ServiceName;
  replica: number;
  readonly pid: number;
  readonly url: string;
  /** kill -9. */
  kill(): Promise<void>;
  /** SIGTERM, and waits for the end. */
  stop(): Promise<void>;
  /** Starts it again, on the same port, from what is built in a workspace: the fleet's by default. */
  start(options?: { workspace?: string }): Promise<void>;
}

export interface Fleet {
  /** The gateway. */
  url: string;
  members: FleetMember[];
  of(service: ServiceName): FleetMember[];
}

const ownWorkspace = fileURLToPath(new URL('../../../', import.meta.url));
/** It says where requests came from. */
const behindGateway = { IRONFLOW_TRUSTED_PROXIES: '127.0.0.1' };
const readyWithinMs = 30_000;
/** A service drains within less; one that is paused or stuck does not end by itself. */
const stopPatienceMs = 20_000;

export async function startFleet(options: FleetOptions): Promise<Fleet> {
  const log = openSync(join(options.logFolder, 'services.log'), 'a');
  const members: FleetMember[] = [];
  options.lifecycle.onStop('services', async () => {
    await Promise.all(members.map((member) => member.stop()));
    closeSync(log);
  });
  const countOf = (service: ServiceName): number => options.replicasOf?.[service] ?? options.replicas;
  const most = Math.max(...serviceNames.map(countOf));
  for (let replica = 0; replica < most; replica += 1) {
    for (const service of serviceNames) {
      if (replica >= countOf(service)) continue;
      members.push(createMember({ ...options, service, replica, log, ownPort: await freePort() }));
    }
  }
  // The first provisions what the others then find.
  await members[0]!.start();
  await Promise.all(members.slice(1).map((member) => member.start()));
  const of = (service: ServiceName): FleetMember[] => members.filter((member) => member.service === service);
  const gateway = await startGateway({
    ...options,
    replicasOf: (service) => of(service).map((member) => member.url),
  });
  return { url: gateway.url, members, of };
}

interface MemberOptions extends FleetOptions {
  service: ServiceName;
  replica: number;
  ownPort: number;
  /** An open file, which the processes write to themselves. */
  log: number;
}

function createMember(options: MemberOptions): FleetMember {
  const { service, ownPort } = options;
  const url = `http://127.0.0.1:${ownPort}`;
  let child: ChildProcess | undefined;
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    const running = child;
    child = undefined;
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) return;
    const exited = once(running, 'exit');
    running.kill(signal);
    const timer = setTimeout(() => running.kill('SIGKILL'), stopPatienceMs);
    await exited;
    clearTimeout(timer);
  };
  return {
    service,
    replica: options.replica,
    url,
    get pid() {
      return child?.pid ?? 0;
    },
    kill: () => end('SIGKILL'),
    stop: () => end('SIGTERM'),
    start: async ({ workspace = options.workspace ?? ownWorkspace } = {}) => {
      options.lifecycle.stopping.throwIfAborted();
      const main = join(workspace, 'services', service, 'dist', 'main.js');
      child = spawn(process.execPath, [...serviceNodeArguments, ...endWithParentArguments, main], {
        env: { ...options.env, ...behindGateway, HOST: '127.0.0.1', PORT: String(ownPort) },
        stdio: ['ignore', options.log, options.log, 'ipc'],
        // A group of its own: Ctrl-C in a terminal reaches us alone, and we stop the services in order.
        detached: true,
      });
      await ready(url, child, service);
    },
  };
}

async function ready(url: string, child: ChildProcess, service: string): Promise<void> {
  const deadlineMs = performance.now() + readyWithinMs;
  while (performance.now() < deadlineMs) {
    if (child.exitCode !== null || child.signalCode !== null)
      throw new Error(`${service} ended while starting: see its log`);
    const answer = await fetch(`${url}/readyz`).catch(() => undefined);
    await answer?.arrayBuffer();
    if (answer?.ok === true) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${service} was not ready within ${readyWithinMs} ms`);
}
