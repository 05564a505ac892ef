/**
 * From a rendered workload to its pods: what each container is started with, with every reference resolved. Pure; nothing here knows how
 * a pod is run.
 */
import type {
  Container,
  Contents,
  Job,
  Manifest,
  PodTemplate,
  PreStop,
  Probe,
  Volume,
  Workload,
} from './manifest.js';

export interface Pod {
  name: string;
  /** Of the workload, or the Job. */
  owner: string;
  /** As other pods know it, within the namespace. */
  hostnames: string[];
  labels: Record<string, string>;
  graceSeconds: number;
  /** Without sidecars: of what beside the program runs in a cluster nothing is needed here. */
  container: PodContainer;
}

export interface PodContainer {
  image: string;
  /** Instead of the image's own program. */
  command: string[] | undefined;
  args: string[];
  env: Record<string, string>;
  user: number;
  group: number;
  isRootReadOnly: boolean;
  mounts: Mount[];
  startup: Probe | undefined;
  readiness: Probe | undefined;
  liveness: Probe | undefined;
  preStop: PreStop | undefined;
  /** By name. */
  ports: Record<string, number>;
}

export type Mount = { path: string } & (
  | { kind: 'files'; files: { path: string; content: Buffer }[]; mode: number }
  | { kind: 'empty' }
  /** Of a volume claim: it outlives the container, and is found by its name. */
  | { kind: 'claim'; claim: string }
);

export interface PodSources {
  manifest: Manifest;
  /** Secrets that are not in the manifest. */
  secrets: Contents;
  namespace: string;
  domain: string;
}

export function podOfWorkload(workload: Workload, index: number, sources: PodSources): Pod {
  const { name: owner } = workload.metadata;
  const { template, serviceName, volumeClaimTemplates } = workload.spec;
  const name = `${owner}-${index}`;
  const service = serviceName === undefined ? [] : [`${name}.${serviceName}`];
  return podOf(
    { name, owner, labels: template.metadata.labels, template: template.spec, service },
    volumeClaimTemplates.map(({ metadata }) => metadata.name),
    sources,
  );
}

export function podOfJob({ metadata: { name }, spec }: Job, sources: PodSources): Pod {
  const { metadata, spec: template } = spec.template;
  return podOf({ name, owner: name, labels: metadata.labels, template, service: [] }, [], sources);
}

interface Identity {
  name: string;
  owner: string;
  labels: Record<string, string>;
  template: PodTemplate;
  service: string[];
}

function podOf(
  { name, owner, labels, template, service }: Identity,
  claims: string[],
  sources: PodSources,
): Pod {
  const [container] = template.containers;
  if (container === undefined) throw new Error(`${owner} has no container`);
  const { namespace, domain } = sources;
  const { runAsUser, runAsGroup, readOnlyRootFilesystem } = {
    ...template.securityContext,
    ...container.securityContext,
  };
  if (runAsUser === undefined) throw new Error(`${owner} does not say as which user it runs`);
  return {
    name,
    owner,
    hostnames: service.flatMap((host) => [`${host}.${namespace}.svc.${domain}`, `${host}.${namespace}.svc`]),
    labels,
    graceSeconds: template.terminationGracePeriodSeconds,
    container: {
      image: container.image,
      command: container.command,
      args: container.args,
      env: envOf(container, name, sources),
      user: runAsUser,
      group: runAsGroup ?? runAsUser,
      isRootReadOnly: readOnlyRootFilesystem === true,
      mounts: mountsOf(container, { pod: name, template, claims }, sources),
      startup: container.startupProbe,
      readiness: container.readinessProbe,
      liveness: container.livenessProbe,
      preStop: container.lifecycle?.preStop,
      ports: Object.fromEntries(
        container.ports.map((port) => [port.name ?? String(port.containerPort), port.containerPort]),
      ),
    },
  };
}

function envOf(
  { env, name: container }: Container,
  pod: string,
  sources: PodSources,
): Record<string, string> {
  const values: Record<string, string> = {};
  for (const { name, value, valueFrom } of env) {
    if (valueFrom === undefined) {
      values[name] = expand(value ?? '', values);
      continue;
    }
    const { secretKeyRef, configMapKeyRef, fieldRef } = valueFrom;
    const resolved =
      fieldRef === undefined
        ? lookUp(secretKeyRef ?? configMapKeyRef, { isSecret: secretKeyRef !== undefined, sources })
        : fieldOf(fieldRef.fieldPath, pod, sources);
    if (resolved === undefined && (secretKeyRef ?? configMapKeyRef)?.optional === true) continue;
    if (resolved === undefined) throw new Error(`${pod}, ${container}: ${name} refers to what is not there`);
    values[name] = resolved;
  }
  return values;
}

/** `$(NAME)` of a variable before it, as in Kubernetes; one that is not there stays as it is. */
function expand(text: string, values: Record<string, string>): string {
  return text.replaceAll(/\$\((\w+)\)/g, (whole, name: string) => values[name] ?? whole);
}

function lookUp(
  ref: { name: string; key: string } | undefined,
  { isSecret, sources }: { isSecret: boolean; sources: PodSources },
): string | undefined {
  if (ref === undefined) return undefined;
  return contentOf(ref.name, isSecret, sources)?.get(ref.key)?.toString('utf8');
}

function contentOf(
  name: string,
  isSecret: boolean,
  { manifest, secrets }: PodSources,
): ReadonlyMap<string, Buffer> | undefined {
  return isSecret ? (manifest.secrets.get(name) ?? secrets.get(name)) : manifest.configMaps.get(name);
}

function fieldOf(path: string, pod: string, { namespace }: PodSources): string | undefined {
  if (path === 'metadata.name') return pod;
  return path === 'metadata.namespace' ? namespace : undefined;
}

function mountsOf(
  { volumeMounts }: Container,
  { pod, template, claims }: { pod: string; template: PodTemplate; claims: string[] },
  sources: PodSources,
): Mount[] {
  return volumeMounts.map(({ name, mountPath: path }): Mount => {
    if (claims.includes(name)) return { path, kind: 'claim', claim: `${name}-${pod}` };
    const volume = template.volumes.find((one) => one.name === name);
    if (volume === undefined) throw new Error(`${pod} mounts ${name}, which is no volume of its`);
    const { persistentVolumeClaim: claimed } = volume;
    if (claimed !== undefined) return { path, kind: 'claim', claim: claimed.claimName };
    const files = volume.secret ?? volume.configMap;
    if (files === undefined) return { path, kind: 'empty' };
    return { path, kind: 'files', files: filesOf(volume, pod, sources), mode: files.defaultMode };
  });
}

function filesOf({ name, secret, configMap }: Volume, pod: string, sources: PodSources) {
  const from = secret?.secretName ?? configMap?.name ?? '';
  const content = contentOf(from, secret !== undefined, sources);
  if (content === undefined) throw new Error(`${pod}, volume ${name}: there is no ${from}`);
  const items = secret?.items ?? configMap?.items ?? [...content.keys()].map((key) => ({ key, path: key }));
  return items.map(({ key, path }) => {
    const found = content.get(key);
    if (found === undefined) throw new Error(`${pod}, volume ${name}: ${from} has no ${key}`);
    return { path, content: found };
  });
}
