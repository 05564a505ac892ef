/** The one URL: what is rendered routes as the services declare. */
import { expect, test } from '@jest/globals';
import { routes, workerPath } from '@ironflow/schema';
import type { Route } from '@ironflow/schema';
import { find } from '../manifests.js';
import type { Manifest } from '../manifests.js';
import { render, renderCase } from '../testing/rendered.js';

interface IngressPath {
  path: string;
  pathType: 'Exact' | 'Prefix' | 'ImplementationSpecific';
  backend: { service: { name: string } };
}

const ingressPaths = ({ spec }: Manifest): IngressPath[] =>
  (spec as { rules: { http: { paths: IngressPath[] } }[] }).rules[0]!.http.paths;

/** As ingress-nginx decides: once one path is a regular expression all are, the longest first. */
function asNginx(paths: readonly IngressPath[], path: string): string | undefined {
  const longestFirst = [...paths].sort((a, b) => b.path.length - a.path.length);
  return longestFirst.find((one) => new RegExp(`^${one.path}`, 'i').test(path))?.backend.service.name;
}

/** As Ingress has it, with regular expressions in what is left to the controller. */
function asSpecified(paths: readonly IngressPath[], path: string, prefix: string): string | undefined {
  const isBelow = (beginning: string) => path === beginning || path.startsWith(`${beginning}/`);
  const found =
    paths.find((one) => one.pathType === 'Exact' && one.path === path) ??
    paths.find(
      (one) =>
        one.pathType === 'ImplementationSpecific' &&
        new RegExp(`^${one.path.slice(prefix.length)}`).test(path),
    ) ??
    paths
      .filter((one) => one.pathType === 'Prefix' && isBelow(one.path))
      .sort((a, b) => b.path.length - a.path.length)[0];
  return found?.backend.service.name;
}

const wanted = [
  ...Object.values<Route>(routes).map(({ path, service }) => ({ path, service })),
  { path: workerPath, service: 'executor' },
].map(({ path, service }) => ({
  path: path.replaceAll(/:\w+/g, '0198f6a2-0000-7000-8000-000000000001'),
  service,
}));

test('an Ingress of ingress-nginx', async () => {
  const ingress = find(await renderCase('production'), 'Ingress', 'ironflow');
  for (const { path, service } of wanted) {
    expect([path, asNginx(ingressPaths(ingress), path)]).toEqual([path, `ironflow-${service}`]);
  }
  for (const path of ['/metrics', '/backlog', '/', '/healthz/x']) {
    expect(asNginx(ingressPaths(ingress), path)).toBeUndefined();
  }
  const annotations = Object.entries(ingress.metadata.annotations!).map(
    ([name, value]) => [name.replace('nginx.ingress.kubernetes.io/', ''), value] as const,
  );
  expect(Object.fromEntries(annotations)).toMatchObject({
    'use-regex': 'true',
    'proxy-read-timeout': '3600',
    'backend-protocol': 'HTTPS',
    'proxy-ssl-verify': 'on',
    'proxy-ssl-name': 'ironflow',
    'proxy-ssl-secret': 'ironflow/ironflow-services-tls',
  });
});

test('an Ingress of another controller', async () => {
  const ingress = find(await renderCase('another ingress controller'), 'Ingress', 'ironflow');
  for (const { path, service } of wanted) {
    expect([path, asSpecified(ingressPaths(ingress), path, '/~')]).toEqual([path, `ironflow-${service}`]);
  }
  expect(ingress.metadata.annotations).toBeUndefined();
});

test('annotations of yours win over those of the controller', async () => {
  const mine = { 'nginx.ingress.kubernetes.io/proxy-body-size': '1m' };
  const manifests = await render({
    profiles: ['production'],
    values: { ingress: { host: 'x.example.com', annotations: mine } },
  });
  expect(find(manifests, 'Ingress', 'ironflow').metadata.annotations).toMatchObject(mine);
});

interface RouteRule {
  matches: { path: { type: 'Exact' | 'PathPrefix' | 'RegularExpression'; value: string } }[];
  backendRefs: { name: string }[];
}

test('an HTTPRoute, and what Gateways verify services by', async () => {
  const manifests = await renderCase('Gateway API');
  const { rules } = find(manifests, 'HTTPRoute', 'ironflow').spec as unknown as { rules: RouteRule[] };
  const pathTypes = {
    Exact: 'Exact',
    PathPrefix: 'Prefix',
    RegularExpression: 'ImplementationSpecific',
  } as const;
  const paths = rules.flatMap(({ matches, backendRefs }) =>
    matches.map(({ path }) => ({
      path: path.type === 'RegularExpression' ? `${path.value}$` : path.value,
      pathType: pathTypes[path.type],
      backend: { service: { name: backendRefs[0]!.name } },
    })),
  );
  for (const { path, service } of wanted) {
    expect([path, asSpecified(paths, path, '')]).toEqual([path, `ironflow-${service}`]);
  }
  const policy = find(manifests, 'BackendTLSPolicy', 'ironflow').spec as {
    validation: { hostname: string; caCertificateRefs: { name: string }[] };
  };
  expect(policy.validation.hostname).toBe('ironflow');
  find(manifests, 'ConfigMap', policy.validation.caCertificateRefs[0]!.name);
});
