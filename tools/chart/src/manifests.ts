/** Objects of Kubernetes, as far as anybody here looks into them. */
import { parseAllDocuments } from 'yaml';

export interface Metadata {
  name: string;
  namespace?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
}

export interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: Metadata;
  spec?: Record<string, unknown>;
  data?: Record<string, string>;
}

export interface EnvEntry {
  name: string;
  value?: string;
  valueFrom?: { secretKeyRef?: { name: string; key: string }; fieldRef?: { fieldPath: string } };
}

export interface Container {
  name: string;
  image: string;
  command?: string[];
  args?: string[];
  env?: EnvEntry[];
  securityContext?: Record<string, unknown>;
  resources?: { requests?: Record<string, string>; limits?: Record<string, string> };
  volumeMounts?: { name: string; mountPath: string; readOnly?: boolean }[];
  [field: string]: unknown;
}

export interface PodSpec {
  containers: Container[];
  volumes?: {
    name: string;
    secret?: { secretName: string; items?: { key: string; path: string }[] };
    [kind: string]: unknown;
  }[];
  securityContext?: Record<string, unknown>;
  terminationGracePeriodSeconds?: number;
  automountServiceAccountToken?: boolean;
  [field: string]: unknown;
}

interface PodTemplate {
  template: { spec: PodSpec };
}

export function parseManifests(text: string): Manifest[] {
  // As Kubernetes reads it: modes of files are octal.
  return parseAllDocuments(text, { version: '1.1' }).flatMap((document) => {
    const [error] = document.errors;
    if (error !== undefined) throw error;
    const object = document.toJS() as Manifest | null;
    return object === null ? [] : [object];
  });
}

/** What runs in pods, by whatever makes them; undefined of anything else. */
export function podSpecOf({ kind, spec }: Manifest): PodSpec | undefined {
  if (kind === 'Pod') return spec as unknown as PodSpec;
  if (kind === 'CronJob')
    return (spec as { jobTemplate: { spec: PodTemplate } }).jobTemplate.spec.template.spec;
  if (!['Deployment', 'StatefulSet', 'Job'].includes(kind)) return undefined;
  return (spec as unknown as PodTemplate).template.spec;
}

export function find(manifests: readonly Manifest[], kind: string, name: string): Manifest {
  const found = manifests.find((one) => one.kind === kind && one.metadata.name === name);
  if (found === undefined) throw new Error(`there is no ${kind} ${name}`);
  return found;
}
