/** What `helm template` has rendered, as far as it is run here: what is not in these shapes is for a cluster alone. */
import { parseAllDocuments } from 'yaml';
import { z } from 'zod';

const keyRef = z.object({ name: z.string(), key: z.string(), optional: z.boolean().optional() });
const envSchema = z.object({
  name: z.string(),
  value: z.string().optional(),
  valueFrom: z
    .object({
      secretKeyRef: keyRef.optional(),
      configMapKeyRef: keyRef.optional(),
      fieldRef: z.object({ fieldPath: z.string() }).optional(),
    })
    .optional(),
});

const portSchema = z.union([z.string(), z.number()]);
const probeSchema = z.object({
  httpGet: z.object({
    path: z.string(),
    port: portSchema,
    scheme: z.enum(['HTTP', 'HTTPS']).default('HTTP'),
  }),
  initialDelaySeconds: z.number().default(0),
  periodSeconds: z.number().default(10),
  timeoutSeconds: z.number().default(1),
  failureThreshold: z.number().default(3),
});
export type Probe = z.infer<typeof probeSchema>;

const preStopSchema = z.object({
  exec: z.object({ command: z.array(z.string()) }).optional(),
  sleep: z.object({ seconds: z.number() }).optional(),
});
export type PreStop = z.infer<typeof preStopSchema>;

const securitySchema = z.object({
  runAsUser: z.number().optional(),
  runAsGroup: z.number().optional(),
  fsGroup: z.number().optional(),
  readOnlyRootFilesystem: z.boolean().optional(),
});

const containerSchema = z.object({
  name: z.string(),
  image: z.string(),
  command: z.array(z.string()).optional(),
  args: z.array(z.string()).default([]),
  env: z.array(envSchema).default([]),
  ports: z.array(z.object({ name: z.string().optional(), containerPort: z.number() })).default([]),
  volumeMounts: z.array(z.object({ name: z.string(), mountPath: z.string() })).default([]),
  securityContext: securitySchema.default({}),
  startupProbe: probeSchema.optional(),
  readinessProbe: probeSchema.optional(),
  livenessProbe: probeSchema.optional(),
  lifecycle: z.object({ preStop: preStopSchema.optional() }).optional(),
});
export type Container = z.infer<typeof containerSchema>;

const itemsSchema = z.array(z.object({ key: z.string(), path: z.string() })).optional();
const volumeSchema = z.object({
  name: z.string(),
  secret: z
    .object({ secretName: z.string(), items: itemsSchema, defaultMode: z.number().default(0o644) })
    .optional(),
  configMap: z
    .object({ name: z.string(), items: itemsSchema, defaultMode: z.number().default(0o644) })
    .optional(),
  persistentVolumeClaim: z.object({ claimName: z.string() }).optional(),
  emptyDir: z.object({}).nullish(),
});
export type Volume = z.infer<typeof volumeSchema>;

const podSchema = z.object({
  containers: z.array(containerSchema).min(1),
  volumes: z.array(volumeSchema).default([]),
  securityContext: securitySchema.default({}),
  terminationGracePeriodSeconds: z.number().default(30),
});
export type PodTemplate = z.infer<typeof podSchema>;

const metadata = z.object({ name: z.string(), namespace: z.string().default('default') });
const labels = z.record(z.string(), z.string());
const templateSchema = z.object({ metadata: z.object({ labels: labels.default({}) }), spec: podSchema });
const data = z.record(z.string(), z.string()).default({});
const ingressPathSchema = z.object({
  path: z.string(),
  pathType: z.enum(['Exact', 'Prefix', 'ImplementationSpecific']),
  backend: z.object({ service: z.object({ name: z.string() }) }),
});

const workload = {
  metadata,
  spec: z.object({
    replicas: z.number().default(1),
    serviceName: z.string().optional(),
    template: templateSchema,
    volumeClaimTemplates: z.array(z.object({ metadata })).default([]),
  }),
};

const jobSpecSchema = z.object({ template: templateSchema });

/** By their kinds; others are left out. */
const schemas = {
  Deployment: z.object({ kind: z.literal('Deployment'), ...workload }),
  StatefulSet: z.object({ kind: z.literal('StatefulSet'), ...workload }),
  Job: z.object({ kind: z.literal('Job'), metadata, spec: jobSpecSchema }),
  CronJob: z.object({
    kind: z.literal('CronJob'),
    metadata,
    spec: z.object({ jobTemplate: z.object({ spec: jobSpecSchema }) }),
  }),
  Secret: z.object({ kind: z.literal('Secret'), metadata, data, stringData: data }),
  ConfigMap: z.object({ kind: z.literal('ConfigMap'), metadata, data }),
  Service: z.object({
    kind: z.literal('Service'),
    metadata,
    spec: z.object({ clusterIP: z.string().optional(), selector: labels.default({}) }),
  }),
  Ingress: z.object({
    kind: z.literal('Ingress'),
    metadata: metadata.extend({ annotations: z.record(z.string(), z.string()).default({}) }),
    spec: z.object({
      rules: z.array(z.object({ host: z.string(), http: z.object({ paths: z.array(ingressPathSchema) }) })),
    }),
  }),
} as const;
type Kind = keyof typeof schemas;
type ObjectOf<Of extends Kind> = z.infer<(typeof schemas)[Of]>;
export type Workload = ObjectOf<'Deployment'> | ObjectOf<'StatefulSet'>;
export type Job = ObjectOf<'Job'>;
export type Ingress = ObjectOf<'Ingress'>;
export type KubernetesService = ObjectOf<'Service'>;

export interface Manifest {
  workloads: Workload[];
  jobs: Job[];
  /** What CronJobs make when it is time. */
  jobsLater: Job[];
  services: KubernetesService[];
  ingresses: Ingress[];
  /** Contents of Secrets and ConfigMaps, by name and key. */
  secrets: Contents;
  configMaps: Contents;
}
export type Contents = ReadonlyMap<string, ReadonlyMap<string, Buffer>>;

/** Throws with the object's kind and name if one is not as it is understood here. Pods of tests (`helm test`) are left out. */
export function readManifest(text: string): Manifest {
  // Of Kubernetes' YAML, in which 0440 is an octal number.
  const objects = parseAllDocuments(text, { version: '1.1' }).map((document) => {
    if (document.errors[0] !== undefined) throw document.errors[0];
    return document.toJS() as { kind?: string; metadata?: { name?: string } } | null;
  });
  const of = <Of extends Kind>(kind: Of): ObjectOf<Of>[] =>
    objects
      .filter((object) => object?.kind === kind)
      .map((object) => {
        const parsed = schemas[kind].safeParse(object);
        if (parsed.success) return parsed.data as ObjectOf<Of>;
        throw new Error(`${kind} ${object?.metadata?.name}: ${z.prettifyError(parsed.error)}`);
      });
  return {
    workloads: [...of('StatefulSet'), ...of('Deployment')],
    jobs: of('Job'),
    jobsLater: of('CronJob').map(({ metadata, spec }) => ({
      kind: 'Job',
      metadata,
      spec: spec.jobTemplate.spec,
    })),
    services: of('Service'),
    ingresses: of('Ingress'),
    secrets: contentsOf(
      of('Secret').map(({ metadata: { name }, data, stringData }) => [
        name,
        [...entriesOf(data, 'base64'), ...entriesOf(stringData, 'utf8')],
      ]),
    ),
    configMaps: contentsOf(
      of('ConfigMap').map(({ metadata: { name }, data }) => [name, entriesOf(data, 'utf8')]),
    ),
  };
}

type Entries = [string, Buffer][];

function entriesOf(data: Record<string, string>, encoding: BufferEncoding): Entries {
  return Object.entries(data).map(([key, value]) => [key, Buffer.from(value, encoding)]);
}

function contentsOf(objects: [string, Entries][]): Contents {
  return new Map(objects.map(([name, entries]) => [name, new Map(entries)]));
}

/** A table of Secrets that the chart refers to and does not make. */
export function secretsFrom(table: Record<string, Record<string, string>>): Contents {
  return contentsOf(Object.entries(table).map(([name, data]) => [name, entriesOf(data, 'utf8')]));
}
