/**
 * The chart on a control plane: what its API admits, what its controllers and its scheduler make of it, and what an installation, an upgrade, the
 * way back and the end leave behind. Nothing of the platform runs in it.
 */
import { createScratch } from '@ironflow/testing';
import { cases } from '../cases.js';
import type { Check } from '../checks.js';
import { resourceDefinitions } from '../definitions.js';
import { namespace, release } from '../helm.js';
import type { Helm, Values } from '../helm.js';
import { chartFolder } from '../places.js';
import type { ApiClient } from './api-client.js';
import { startControlPlane } from './control-plane.js';
import { deploymentsPath, furnish, podsOf, readyPods, secretsPath, zones } from './furniture.js';
import { watchOrder } from './order.js';

interface World {
  helm: Helm;
  api: ApiClient;
  kubeconfig: string;
}

export async function clusterChecks(
  helm: Helm,
  say: (line: string) => void,
): Promise<{ checks: Check[]; stop: () => Promise<void> }> {
  const scratch = await createScratch('chart-cluster');
  const plane = await startControlPlane(scratch, say).catch(async (error: unknown) => {
    await scratch.remove();
    throw error;
  });
  await furnish(plane.api, await resourceDefinitions());
  const world = { helm, ...plane };
  return {
    checks: [
      { name: 'the API takes every object, and no field is unknown to it', run: () => checkAdmission(world) },
      { name: 'install: migrations first, then everything ready', run: () => checkInstall(world) },
      { name: 'pods are spread over zones and nodes', run: () => checkSpread(world) },
      { name: 'no more pods are evicted at once than budgets allow', run: () => checkBudgets(world) },
      {
        name: 'upgrade: migrations first, then every pod; what was made is kept',
        run: () => checkUpgrade(world),
      },
      { name: 'rollback: the pods of before', run: () => checkRollback(world) },
      { name: 'uninstall: nothing is left but what is kept on purpose', run: () => checkUninstall(world) },
    ],
    stop: async () => {
      await plane.stop();
      await scratch.remove();
    },
  };
}

/** Without cert-manager certificates are the chart's own; without KEDA its objects are only admitted. */
const installed: Values = {
  profiles: ['production'],
  values: {
    ingress: { host: 'ironflow.example.com' },
    tls: { mode: 'selfSigned' },
    nats: { storage: { className: 'played' } },
  },
};
const executors = { replicas: 3, autoscaling: { mode: 'hpa', minReplicas: 3, maxReplicas: 6 } };
const upgraded: Values = {
  profiles: ['production'],
  values: { ...installed.values, image: { tag: '0.1.1' }, services: { executor: executors } },
};
const waiting = ['--namespace', namespace, '--wait', '--timeout', '5m'];

async function checkAdmission({ helm, api }: World): Promise<string> {
  let objects = 0;
  for (const [name, values] of Object.entries<Values>(cases)) {
    for (const object of await helm.template(values)) {
      const path = await api.pathOf(object, namespace);
      const answer = await api.send('POST', `${path}?dryRun=All&fieldValidation=Strict`, object);
      const where = `${name}: ${object.kind} ${object.metadata.name}`;
      if (answer.status !== 201) {
        throw new Error(`${where}: ${(answer.body as { message?: string }).message ?? answer.status}`);
      }
      // What makes pods is let pass with a warning when its pods would not be.
      if (answer.warnings.length > 0) throw new Error(`${where}: ${answer.warnings.join('; ')}`);
      objects += 1;
    }
  }
  return `${objects} objects of ${Object.keys(cases).length} sets of values, pods by the restricted standard`;
}

async function checkInstall({ helm, api, kubeconfig }: World): Promise<string> {
  const order = await watchOrder(api);
  await helm.run(['install', release, chartFolder, '--kubeconfig', kubeconfig, ...waiting], installed);
  order.stop();
  order.requireMigrationFirst('ADDED');
  const pods = await readyPods(api);
  await requireKinds(api, { ScaledObject: 1, HorizontalPodAutoscaler: 0 });
  return `${pods} pods are ready`;
}

async function checkSpread({ api }: World): Promise<string> {
  const told: string[] = [];
  for (const component of ['ingest', 'executor', 'nats']) {
    const nodes = (await podsOf(api, component)).map(({ spec }) => (spec as { nodeName: string }).nodeName);
    const inZones = new Set(nodes.map((node) => zones.get(node)));
    if (new Set(nodes).size !== nodes.length)
      throw new Error(`${component}: two pods on one node: ${nodes.join(', ')}`);
    if (inZones.size !== Math.min(3, nodes.length))
      throw new Error(`${component} is in ${inZones.size} zones`);
    told.push(`${component}: ${nodes.length} nodes in ${inZones.size} zones`);
  }
  return told.join('; ');
}

async function checkBudgets({ api }: World): Promise<string> {
  const told: string[] = [];
  for (const component of ['ingest', 'nats']) {
    const pods = await podsOf(api, component);
    const statuses: number[] = [];
    for (const { metadata } of pods.slice(0, 2)) {
      const eviction = {
        apiVersion: 'policy/v1',
        kind: 'Eviction',
        metadata: { name: metadata.name, namespace },
      };
      const path = `/api/v1/namespaces/${namespace}/pods/${metadata.name}/eviction`;
      statuses.push((await api.send('POST', path, eviction)).status);
    }
    if (statuses.join() !== '201,429')
      throw new Error(`${component}: evictions were answered ${statuses.join(', ')}`);
    told.push(`${component}: the second of ${pods.length} is refused`);
  }
  await readyPods(api);
  return told.join('; ');
}

async function checkUpgrade({ helm, api, kubeconfig }: World): Promise<string> {
  const before = await madeSecrets(api);
  const order = await watchOrder(api);
  await helm.run(['upgrade', release, chartFolder, '--kubeconfig', kubeconfig, ...waiting], upgraded);
  order.stop();
  order.requireMigrationFirst('MODIFIED');
  const after = await madeSecrets(api);
  if (JSON.stringify(before) !== JSON.stringify(after))
    throw new Error('certificates or passwords were made anew');
  await requireImages(api, '0.1.1');
  await requireKinds(api, { ScaledObject: 0, HorizontalPodAutoscaler: 1 });
  return `${Object.keys(after).length} Secrets are as they were; the executor has changed from KEDA to HPA`;
}

async function checkRollback({ helm, api, kubeconfig }: World): Promise<string> {
  await helm.run(['rollback', release, '1', '--kubeconfig', kubeconfig, ...waiting]);
  await requireImages(api, '0.1.0');
  await requireKinds(api, { ScaledObject: 1, HorizontalPodAutoscaler: 0 });
  return `${await readyPods(api)} pods are ready`;
}

async function checkUninstall({ helm, api, kubeconfig }: World): Promise<string> {
  await helm.run(['uninstall', release, '--kubeconfig', kubeconfig, ...waiting]);
  const left: string[] = [];
  for (const { apiVersion, kind } of await helm.template(installed)) {
    const path = await api.pathOf({ apiVersion, kind }, namespace);
    const objects = (await api.list(path)).filter(
      ({ metadata }) => metadata.labels?.['app.kubernetes.io/instance'] === release,
    );
    left.push(...objects.map(({ metadata }) => `${kind} ${metadata.name}`));
  }
  const kept = [...new Set(left)];
  if (kept.join() !== 'Secret ironflow-ca') throw new Error(`left: ${kept.join(', ')}`);
  const claims = await api.list(`/api/v1/namespaces/${namespace}/persistentvolumeclaims`);
  if (claims.length !== 3) throw new Error(`${claims.length} volumes of NATS are left`);
  return 'left are the authority and the volumes of NATS';
}

/** Without their versions. */
async function madeSecrets(api: ApiClient): Promise<Record<string, unknown>> {
  const secrets = await api.list(secretsPath);
  const made = secrets.filter(({ metadata }) => metadata.labels?.['app.kubernetes.io/managed-by'] === 'Helm');
  return Object.fromEntries(made.map(({ metadata, data }) => [metadata.name, data]));
}

async function requireImages(api: ApiClient, tag: string): Promise<void> {
  for (const { metadata, spec } of await api.list(deploymentsPath)) {
    const { containers } = (spec as { template: { spec: { containers: { image: string }[] } } }).template
      .spec;
    const image = containers[0]!.image;
    if (!image.endsWith(`:${tag}`)) throw new Error(`${metadata.name} is ${image}`);
  }
}

async function requireKinds(api: ApiClient, wanted: Record<string, number>): Promise<void> {
  const versions: Record<string, string> = {
    ScaledObject: 'keda.sh/v1alpha1',
    HorizontalPodAutoscaler: 'autoscaling/v2',
  };
  for (const [kind, count] of Object.entries(wanted)) {
    const path = await api.pathOf({ apiVersion: versions[kind]!, kind }, namespace);
    const found = (await api.list(path)).length;
    if (found !== count) throw new Error(`there are ${found} of ${kind}, not ${count}`);
  }
}
