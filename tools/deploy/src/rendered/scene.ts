/** Where the rendered chart plays: its installation, its pods in the order of a release, and the way in by its Ingress. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { startGateway } from '@ironflow/platform';
import type { PublicService } from '@ironflow/platform';
import type { Lifecycle } from '@ironflow/service';
import { createCluster } from './cluster.js';
import type { LocalCluster } from './cluster.js';
import { prepareImages } from './images.js';
import { prepareInstallation } from './installation.js';
import { readManifest } from './manifest.js';
import type { Ingress, Manifest } from './manifest.js';
import { createPodNetwork } from './network.js';
import { podOfJob, podOfWorkload } from './pods.js';
import type { PodSources } from './pods.js';
import { misroutedBy, routeOf } from './routing.js';

export interface SceneOptions {
  /** What `helm template` has written. */
  manifest: string;
  folder: string;
  lifecycle: Lifecycle;
  say: (line: string) => void;
}

export interface Scene {
  /** IRONFLOW_URL. */
  url: string;
  operatorKey: string;
  ownerUrl: string;
  hostAddress: string;
  folder: string;
  cluster: LocalCluster;
  nats: { url: string; ca: Buffer; credsFile: string; replicas: number };
  /** Of what something is done with. */
  names: { executor: string; nats: string; backup: string };
}

const domain = 'cluster.local';
const publicServices: readonly PublicService[] = ['ingest', 'api', 'executor'];

export async function openScene(options: SceneOptions): Promise<Scene> {
  const { folder, lifecycle, say } = options;
  const manifest = readManifest(options.manifest);
  const network = await createPodNetwork();
  const installation = await prepareInstallation({ folder, hostAddress: network.hostAddress, lifecycle });
  const namespace = manifest.workloads[0]?.metadata.namespace ?? 'default';
  const sources: PodSources = { manifest, secrets: installation.secrets, namespace, domain };
  const images = await prepareImages(imagesOf(sources), join(folder, 'images'));
  const cluster = await createCluster({
    ...{ sources, network, images, lifecycle, say },
    hosts: installation.hosts,
    folder: join(folder, 'pods'),
  });
  // In this process' own mounts: it knows pods by their names as they know each other.
  await promisify(execFile)('mount', ['--bind', join(folder, 'pods/hosts'), '/etc/hosts']);
  const names = {
    executor: workloadEndingIn('executor', manifest),
    nats: workloadEndingIn('nats', manifest),
    backup: backupOf(manifest),
  };
  for (const { metadata } of manifest.jobs) {
    await cluster.runJob(metadata.name);
    say(`${metadata.name} has run`);
  }
  await cluster.scale(names.nats);
  say('NATS is ready');
  const others = manifest.workloads
    .map(({ metadata }) => metadata.name)
    .filter((name) => name !== names.nats);
  // One after the other: a cluster starts them on many machines, and here each would wait for all of them.
  for (const name of others) await cluster.scale(name);
  const url = await openWayIn(manifest, cluster, options);
  return {
    ...{ url, cluster, names, folder },
    operatorKey: installation.operatorKey,
    ownerUrl: installation.ownerUrl,
    hostAddress: network.hostAddress,
    nats: { ...natsOf(sources, names.executor), credsFile: installation.platformCreds },
  };
}

function imagesOf(sources: PodSources): string[] {
  const { jobs, jobsLater, workloads } = sources.manifest;
  return [
    ...[...jobs, ...jobsLater].map((job) => podOfJob(job, sources).container.image),
    ...workloads.map((workload) => podOfWorkload(workload, 0, sources).container.image),
  ];
}

function workloadEndingIn(name: string, { workloads }: Manifest): string {
  const found = workloads.find(({ metadata }) => metadata.name.endsWith(`-${name}`));
  if (found === undefined) throw new Error(`the manifest has no workload for ${name}`);
  return found.metadata.name;
}

function backupOf({ jobsLater: [first] }: Manifest): string {
  if (first === undefined) throw new Error('the manifest has no CronJob for backups: enable `backup`');
  return first.metadata.name;
}

/** As services have it. */
function natsOf(sources: PodSources, executor: string) {
  const workload = sources.manifest.workloads.find(({ metadata }) => metadata.name === executor)!;
  const { env, mounts } = podOfWorkload(workload, 0, sources).container;
  const caFile = env.NATS_TLS_CA_FILE ?? '';
  const ca = mounts
    .flatMap((mount) =>
      mount.kind === 'files'
        ? mount.files.map((file) => ({ ...file, path: join(mount.path, file.path) }))
        : [],
    )
    .find(({ path }) => path === caFile)?.content;
  if (ca === undefined) throw new Error(`${executor} has no authority for NATS at NATS_TLS_CA_FILE`);
  return { url: env.NATS_URL ?? '', ca, replicas: Number(env.IRONFLOW_STREAM_REPLICAS) };
}

async function openWayIn(
  manifest: Manifest,
  cluster: LocalCluster,
  { lifecycle }: SceneOptions,
): Promise<string> {
  const [ingress] = manifest.ingresses;
  if (ingress === undefined) throw new Error('the manifest has no Ingress: there is no way in');
  const route = routeOf(ingress);
  const [misrouted] = misroutedBy(route);
  if (misrouted !== undefined) throw new Error(`the Ingress is wrong: ${misrouted}`);
  const serviceNames = new Set(
    ingress.spec.rules.flatMap(({ http }) => http.paths.map((one) => one.backend.service.name)),
  );
  const nameOf = (service: PublicService): string => {
    const found = [...serviceNames].find((name) => name.endsWith(`-${service}`));
    if (found === undefined) throw new Error(`the Ingress has no way to ${service}`);
    return found;
  };
  const tls = tlsOf(ingress, manifest);
  const scheme = tls === undefined ? 'http' : 'https';
  const { url } = await startGateway({
    ...{ host: '127.0.0.1', port: 0, lifecycle },
    // What no path matches a controller answers itself; the api's answer says the same.
    route: (_method, path) =>
      publicServices.find((service) => route(path)?.endsWith(`-${service}`) === true) ?? 'api',
    replicasOf: (service) =>
      cluster.endpointsOf(nameOf(service)).map((address) => `${scheme}://${address}:8080`),
    ...(tls === undefined ? {} : { tls }),
  });
  return url;
}

/** As ingress-nginx is told to speak to the services. */
function tlsOf({ metadata: { annotations } }: Ingress, { secrets }: Manifest) {
  const annotation = (name: string): string | undefined => annotations[`nginx.ingress.kubernetes.io/${name}`];
  if (annotation('backend-protocol') !== 'HTTPS') return undefined;
  const [, secret = ''] = (annotation('proxy-ssl-secret') ?? '').split('/');
  const ca = secrets.get(secret)?.get('ca.crt')?.toString();
  const servername = annotation('proxy-ssl-name');
  if (ca === undefined || servername === undefined) {
    throw new Error('the Ingress does not say which authority and which name the services have');
  }
  return { ca, servername };
}
