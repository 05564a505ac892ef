/** What a cluster does with a rendered chart, as far as processes of one machine can: workloads, in replicas that may change, and Jobs. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Lifecycle } from '@ironflow/service';
import type { PodNetwork } from './network.js';
import { becomesReady, startPod } from './pod-process.js';
import type { PodEnd, RunningPod } from './pod-process.js';
import { podOfJob, podOfWorkload } from './pods.js';
import type { Pod, PodSources } from './pods.js';
import type { LocalImage } from './sandbox.js';

export interface LocalCluster {
  readonly pods: readonly RunningPod[];
  /** Waits until as many pods of the workload are ready; those beyond are stopped, the last first, and how they ended is told. */
  scale(workload: string, replicas?: number): Promise<PodEnd[]>;
  /** Its pod is killed, what it had claimed is lost, and another of the same name begins with nothing. */
  replaceEmpty(pod: string): Promise<void>;
  /** Rejects if it fails. */
  runJob(name: string): Promise<void>;
  /** Addresses of the ready pods behind a Service. */
  endpointsOf(service: string): string[];
}

export interface ClusterOptions {
  sources: PodSources;
  network: PodNetwork;
  images: (name: string) => LocalImage;
  /** Names outside the cluster that pods know. */
  hosts: Record<string, string>;
  folder: string;
  lifecycle: Lifecycle;
  say: (line: string) => void;
}

const readyWithinMs = 180_000;

export async function createCluster(options: ClusterOptions): Promise<LocalCluster> {
  const { sources, lifecycle } = options;
  const { manifest } = sources;
  await mkdir(options.folder, { recursive: true });
  const hostsFile = join(options.folder, 'hosts');
  await writeFile(hostsFile, hostsOf(options));
  const running: RunningPod[] = [];
  lifecycle.onStop('pods', () => Promise.all(running.map((pod) => pod.kill())));
  const start = async (pod: Pod, isJob = false): Promise<RunningPod> => {
    lifecycle.stopping.throwIfAborted();
    const image = options.images(pod.container.image);
    return startPod({ ...options, pod, image, hostsFile }, isJob);
  };
  const drop = (pod: RunningPod): void => void running.splice(running.indexOf(pod), 1);
  const workloadOf = (name: string) => {
    const found = manifest.workloads.find(({ metadata }) => metadata.name === name);
    if (found === undefined) throw new Error(`nothing called ${name} was rendered`);
    return found;
  };
  const of = (owner: string): RunningPod[] => running.filter(({ pod }) => pod.owner === owner);
  return {
    pods: running,
    scale: async (name, replicas = workloadOf(name).spec.replicas) => {
      const workload = workloadOf(name);
      const beyond = of(name).slice(replicas).reverse();
      for (let index = of(name).length; index < replicas; index += 1) {
        running.push(await start(podOfWorkload(workload, index, sources)));
      }
      const ends = await Promise.all(
        beyond.map(async (pod) => {
          const end = await pod.stop();
          drop(pod);
          return end;
        }),
      );
      await Promise.all(of(name).map((pod) => becomesReady(pod, readyWithinMs)));
      return ends;
    },
    replaceEmpty: async (name) => {
      const lost = running.find(({ pod }) => pod.name === name);
      if (lost === undefined) throw new Error(`no pod called ${name} runs`);
      await lost.kill({ wipe: true });
      const pod = await start(lost.pod);
      running.splice(running.indexOf(lost), 1, pod);
    },
    runJob: async (name) => {
      const job = [...manifest.jobs, ...manifest.jobsLater].find(({ metadata }) => metadata.name === name);
      if (job === undefined) throw new Error(`no Job called ${name} was rendered`);
      const pod = await start(podOfJob(job, sources), true);
      const exitCode = await pod.ended;
      await pod.stop();
      if (exitCode !== 0) throw new Error(`${name} failed with exit code ${exitCode}: see its log`);
    },
    endpointsOf: (service) => {
      const selector = manifest.services.find(({ metadata }) => metadata.name === service)?.spec.selector;
      if (selector === undefined) throw new Error(`no Service called ${service} was rendered`);
      const isSelected = ({ labels }: Pod): boolean =>
        Object.entries(selector).every(([label, value]) => labels[label] === value);
      return running.filter(({ pod, isReady }) => isReady && isSelected(pod)).map(({ address }) => address);
    },
  };
}

/** Pods of StatefulSets know each other by name before they run. */
function hostsOf({ sources, network, hosts }: ClusterOptions): string {
  const named = sources.manifest.workloads.flatMap((workload) =>
    Array.from({ length: workload.spec.replicas }, (_, index) => podOfWorkload(workload, index, sources)),
  );
  const lines = [
    '127.0.0.1 localhost',
    ...Object.entries(hosts).map(([host, address]) => `${address} ${host}`),
    ...named
      .filter(({ hostnames }) => hostnames.length > 0)
      .map(({ name, hostnames }) => `${network.addressOf(name)} ${hostnames.join(' ')}`),
  ];
  return `${lines.join('\n')}\n`;
}
