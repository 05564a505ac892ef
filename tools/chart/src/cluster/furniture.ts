/** What a cluster has before the chart comes: nodes in zones, a namespace with the restricted standard, volumes, definitions, Secrets. */
import { eventually } from '@ironflow/testing';
import { parse } from 'yaml';
import { namespace } from '../helm.js';
import type { ApiClient, ClusterObject } from './api-client.js';

const namespaced = `/namespaces/${namespace}`;
export const deploymentsPath = `/apis/apps/v1${namespaced}/deployments`;
export const jobsPath = `/apis/batch/v1${namespaced}/jobs`;
export const secretsPath = `/api/v1${namespaced}/secrets`;
const podsPath = `/api/v1${namespaced}/pods`;

/** Nodes by their zones: three in each of three. */
export const zones: ReadonlyMap<string, string> = new Map(
  Array.from({ length: 9 }, (_, index) => [`node-${index}`, `zone-${'abc'[index % 3]}`]),
);

export async function furnish(api: ApiClient, definitions: readonly string[]): Promise<void> {
  for (const [name, zone] of zones) {
    const labels = { 'kubernetes.io/hostname': name, 'topology.kubernetes.io/zone': zone };
    const annotations = { 'kwok.x-k8s.io/node': 'fake' };
    await api.create('/api/v1/nodes', {
      ...{ apiVersion: 'v1', kind: 'Node', metadata: { name, labels, annotations } },
    });
  }
  const enforced = {
    'pod-security.kubernetes.io/enforce': 'restricted',
    'pod-security.kubernetes.io/warn': 'restricted',
  };
  await api.create('/api/v1/namespaces', {
    ...{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace, labels: enforced } },
  });
  await furnishVolumes(api);
  for (const text of definitions) {
    await api.create('/apis/apiextensions.k8s.io/v1/customresourcedefinitions', parse(text) as object);
  }
  await eventually(
    async () => {
      for (const { metadata, status } of await api.list(
        '/apis/apiextensions.k8s.io/v1/customresourcedefinitions',
      )) {
        const conditions = (status?.conditions ?? []) as { type: string; status: string }[];
        if (!conditions.some((one) => one.type === 'Established' && one.status === 'True')) {
          throw new Error(`${metadata.name} is not established`);
        }
      }
      for (const { metadata, status } of await api.list('/api/v1/nodes')) {
        const conditions = (status?.conditions ?? []) as { type: string; status: string }[];
        if (!conditions.some((one) => one.type === 'Ready' && one.status === 'True')) {
          throw new Error(`${metadata.name} is not ready`);
        }
      }
      // Pods are refused without it.
      const accounts = await api.list(`/api/v1${namespaced}/serviceaccounts`);
      if (accounts.length === 0) throw new Error('there is no service account');
    },
    { timeoutMs: 60_000, intervalMs: 250 },
  );
}

/** No one provisions any: they are there, and bound as pods come. */
async function furnishVolumes(api: ApiClient): Promise<void> {
  await api.create('/apis/storage.k8s.io/v1/storageclasses', {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'StorageClass',
    metadata: { name: 'played' },
    provisioner: 'kubernetes.io/no-provisioner',
    volumeBindingMode: 'WaitForFirstConsumer',
  });
  for (const index of [0, 1, 2]) {
    await api.create('/api/v1/persistentvolumes', {
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: { name: `volume-${index}` },
      spec: {
        capacity: { storage: '20Gi' },
        accessModes: ['ReadWriteOnce'],
        storageClassName: 'played',
        hostPath: { path: `/volume-${index}` },
      },
    });
  }
}

export async function podsOf(api: ApiClient, component: string): Promise<ClusterObject[]> {
  const pods = await api.list(`${podsPath}?labelSelector=app.kubernetes.io/component%3D${component}`);
  return pods.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
}

/** How many there are once all are. */
export function readyPods(api: ApiClient): Promise<number> {
  return eventually(
    async () => {
      const pods = await api.list(podsPath);
      for (const { metadata, status } of pods) {
        const conditions = (status?.conditions ?? []) as { type: string; status: string }[];
        if (!conditions.some((one) => one.type === 'Ready' && one.status === 'True')) {
          throw new Error(`${metadata.name} is not ready: ${JSON.stringify(conditions)}`);
        }
      }
      const deployments = await api.list(deploymentsPath);
      for (const { metadata, status } of deployments) {
        const { replicas = 0, availableReplicas = 0 } = status as {
          replicas?: number;
          availableReplicas?: number;
        };
        if (replicas === 0 || replicas !== availableReplicas)
          throw new Error(`${metadata.name} is not available`);
      }
      return pods.length;
    },
    { timeoutMs: 120_000, intervalMs: 250 },
  );
}
