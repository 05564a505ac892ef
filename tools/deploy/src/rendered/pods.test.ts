import { readFileSync } from 'node:fs';
import { expect, test } from '@jest/globals';
import { programOf, readImageSettings } from './images.js';
import { readManifest, secretsFrom } from './manifest.js';
import type { Contents } from './manifest.js';
import { podOfJob, podOfWorkload } from './pods.js';
import type { PodSources } from './pods.js';
import { misroutedBy, routeOf } from './routing.js';
import { commandOf, containerEnv, sandboxScript } from './sandbox.js';
import type { LocalImage } from './sandbox.js';

const text = readFileSync(new URL('fixture.yaml', import.meta.url), 'utf8');
const postgres = secretsFrom({ 'app-postgres': { DATABASE_URL: 'postgresql://x' } });
const sourcesOf = (secrets: Contents = postgres): PodSources => ({
  manifest: readManifest(text),
  secrets,
  namespace: 'default',
  domain: 'cluster.local',
});
const image: LocalImage = {
  tree: '/trees/executor',
  programs: { node: '/usr/bin/node' },
  entrypoint: ['node', '/app/main.mjs'],
  env: { HOST: '0.0.0.0', PORT: '1' },
};

function executor() {
  const sources = sourcesOf();
  const workload = sources.manifest.workloads.find(({ metadata }) => metadata.name === 'app-executor')!;
  return podOfWorkload(workload, 1, sources);
}

test('a pod of a Deployment has what is rendered, with every reference resolved', () => {
  const { name, graceSeconds, container } = executor();
  expect({ name, graceSeconds }).toEqual({ name: 'app-executor-1', graceSeconds: 35 });
  expect(container).toMatchObject({ user: 10001, group: 10001, isRootReadOnly: true, ports: { http: 8080 } });
  expect(container.env).toEqual({
    PORT: '8080',
    SELF: 'http://8080/$(UNKNOWN)',
    DATABASE_URL: 'postgresql://x',
  });
  expect(container.startup).toMatchObject({ periodSeconds: 2, failureThreshold: 60, timeoutSeconds: 1 });
  expect(container.preStop).toEqual({ sleep: { seconds: 5 } });
  expect(container.mounts).toEqual([
    { path: '/tmp', kind: 'empty' },
    {
      path: '/etc/ironflow/tls',
      kind: 'files',
      mode: 0o440,
      files: [
        { path: 'tls.crt', content: Buffer.from('certificate') },
        { path: 'own/tls.key', content: Buffer.from('key') },
      ],
    },
  ]);
});

test('a pod of a StatefulSet has its name, its place in the cluster and its claim', () => {
  const sources = sourcesOf();
  const nats = sources.manifest.workloads[0]!;
  const { hostnames, container } = podOfWorkload(nats, 2, sources);
  expect(hostnames).toEqual([
    'app-nats-2.app-nats-headless.default.svc.cluster.local',
    'app-nats-2.app-nats-headless.default.svc',
  ]);
  expect(container.env).toEqual({ POD_NAME: 'app-nats-2' });
  expect(container.mounts[0]).toEqual({ path: '/data', kind: 'claim', claim: 'data-app-nats-2' });
  expect(commandOf(container, image)).toEqual(['nats-server', '--config', '/etc/nats/config/nats.conf']);
});

test('what a Secret has not got is named, and nothing else', () => {
  const sources = sourcesOf(secretsFrom({}));
  const workload = sources.manifest.workloads[1]!;
  expect(() => podOfWorkload(workload, 0, sources)).toThrow(
    /^app-executor-0, executor: DATABASE_URL refers to what is not there$/,
  );
});

test('what is not as it is understood is named by kind and name', () => {
  expect(() => readManifest('kind: Deployment\nmetadata: {name: odd}\nspec: {}\n')).toThrow(
    /^Deployment odd: /,
  );
});

test('a Job runs the program of its image with its arguments, and the container goes before the image', () => {
  const sources = sourcesOf();
  const { container } = podOfJob(sources.manifest.jobs[0]!, sources);
  expect(commandOf(container, image)).toEqual(['node', '/app/main.mjs', 'migrate']);
  expect(containerEnv(executor().container, image)).toMatchObject({ HOST: '0.0.0.0', PORT: '8080' });
});

test('a CronJob is a Job for later, and a volume that is claimed is kept beside the container', () => {
  const sources = sourcesOf();
  expect(sources.manifest.jobs.map(({ metadata }) => metadata.name)).not.toContain('ironflow-backup');
  const { container } = podOfJob(sources.manifest.jobsLater[0]!, sources);
  expect(container.args).toEqual(['backup', 'create', '/backups']);
  expect(container.mounts).toEqual([{ path: '/backups', kind: 'claim', claim: 'disk' }]);
});

test('a container has a root of its own that cannot be written, and no right', () => {
  const script = sandboxScript({
    container: executor().container,
    image,
    root: '/pods/root',
    filesFolder: '/pods/files',
    claimFolder: (claim) => `/pods/claims/${claim}`,
    hostsFile: '/pods/hosts',
  });
  const lines = script.split('\n');
  expect(lines.indexOf("mount -o remount,ro '/pods/root'")).toBeGreaterThan(
    lines.indexOf("mount -o remount,bind,ro '/pods/root/etc/ironflow/tls'"),
  );
  expect(lines.at(-2)).toBe(
    "exec 'chroot' '/pods/root' 'setpriv' '--reuid=10001' '--regid=10001' '--clear-groups'" +
      " '--no-new-privs' '--bounding-set=-all' '--inh-caps=-all' '--' 'node' '/app/main.mjs'",
  );
  // Secrets are in the environment, where only the process and root see them.
  expect(script).not.toContain('postgresql://');
});

test('requests go where ingress-nginx sends them', () => {
  const route = routeOf(sourcesOf().manifest.ingresses[0]!);
  const asked = ['/v1/events', '/v1/events/1', '/v1/runs/1/rerun', '/v1/runs/1', '/v1/workers', '/other'];
  expect(asked.map(route)).toEqual([
    ...['app-ingest', 'app-api', 'app-ingest', 'app-api', 'app-executor', undefined],
  ]);
  // An exact path is a pattern among patterns.
  expect(route('/v1/workers/more')).toBe('app-executor');
  expect(misroutedBy(route)).toContain('POST /v1/invocations is sent to app-api');
  expect(misroutedBy(route)).not.toContainEqual(expect.stringContaining('/v1/events'));
});

test('images are known by their programs, and their settings by the Dockerfile', () => {
  expect(
    ['registry.example.org:5000/ironflow/executor:0.1.0@sha256:abc', 'nats', 'ironflow/cli:1'].map(programOf),
  ).toEqual(['executor', 'nats', 'cli']);
  const dockerfile = readFileSync(new URL('../../../../deploy/Dockerfile', import.meta.url), 'utf8');
  expect(readImageSettings(dockerfile)).toMatchObject({
    env: { NODE_ENV: 'production', HOST: '0.0.0.0', PORT: '8080' },
  });
});
