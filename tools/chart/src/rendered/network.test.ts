/** Who may speak to whom. */
import { beforeAll, expect, test } from '@jest/globals';
import { serviceNames } from '@ironflow/platform';
import { find } from '../manifests.js';
import type { Manifest } from '../manifests.js';
import { renderCase } from '../testing/rendered.js';

interface Rule {
  from?: { ipBlock?: { cidr: string; except?: string[] }; [selector: string]: unknown }[];
  to?: { ipBlock?: { cidr: string; except?: string[] }; [selector: string]: unknown }[];
  ports?: { port: number; protocol: string }[];
}
interface Policy {
  podSelector: { matchLabels: Record<string, string> };
  policyTypes: string[];
  ingress?: Rule[];
  egress?: Rule[];
}

let manifests: Manifest[];
beforeAll(async () => {
  manifests = await renderCase('everything');
}, 60_000);
const policy = (name: string) => find(manifests, 'NetworkPolicy', name).spec as unknown as Policy;

test('all pods of the release are closed, but for the resolution of names', () => {
  const all = policy('ironflow-engine');
  expect(Object.keys(all.podSelector.matchLabels)).toEqual([
    'app.kubernetes.io/name',
    'app.kubernetes.io/instance',
  ]);
  expect(all.policyTypes).toEqual(['Ingress', 'Egress']);
  expect(all.ingress).toBeUndefined();
  expect(all.egress!.flatMap(({ ports = [] }) => ports.map(({ port }) => port))).toEqual([53, 53]);
});

test('every service reaches Postgres, NATS and the collector; only executors the world, without what is private', () => {
  for (const name of serviceNames) {
    const { egress } = policy(`ironflow-engine-${name}`);
    const ports = egress!.flatMap(({ ports: opened = [] }) => opened.map(({ port }) => port));
    expect(ports).toEqual([5432, 4222, 4318]);
    const blocks = egress!.flatMap(({ to = [] }) => to.flatMap(({ ipBlock }) => ipBlock ?? []));
    const worlds = blocks.filter(({ cidr }) => /\/0$/.test(cidr));
    expect(worlds.map(({ cidr }) => cidr)).toEqual(name === 'executor' ? ['0.0.0.0/0', '::/0'] : []);
    const except = worlds.flatMap((block) => block.except ?? []);
    const metadata = [
      '169.254.0.0/16',
      '10.0.0.0/8',
      '172.16.0.0/12',
      '192.168.0.0/16',
      'fc00::/7',
      'fe80::/10',
    ];
    if (name === 'executor') expect(except).toEqual(expect.arrayContaining(metadata));
  }
});

test('ranges that push apps may be called at are let through as the executor is told', () => {
  const { egress } = policy('ironflow-engine-executor');
  const allowed = egress!.flatMap(({ to = [] }) =>
    to.flatMap(({ ipBlock }) => (ipBlock === undefined || ipBlock.except ? [] : ipBlock.cidr)),
  );
  expect(allowed).toEqual(expect.arrayContaining(['10.20.0.0/16', 'fd00::/8']));
});

test('requests come from the ingress controller, questions from Prometheus and, for the backlog, KEDA', () => {
  const namespacesOf = (name: string) =>
    policy(`ironflow-engine-${name}`).ingress!.flatMap(({ from = [] }) =>
      from.map(
        ({ namespaceSelector }) =>
          (namespaceSelector as { matchLabels?: Record<string, string> }).matchLabels?.[
            'kubernetes.io/metadata.name'
          ] ?? 'any',
      ),
    );
  expect(namespacesOf('cron')).toEqual(['monitoring']);
  expect(namespacesOf('scheduler')).toEqual(['monitoring', 'keda']);
  expect(namespacesOf('ingest')).toEqual(['monitoring', 'ingress-nginx', 'any']);
  expect(namespacesOf('api')).toEqual(['monitoring', 'ingress-nginx', 'any']);
});

test('servers of NATS are reached by services, by each other, and by whom the values name', () => {
  const { ingress } = policy('ironflow-engine-nats');
  const ports = ingress!.map(({ ports: opened }) => opened!.map(({ port }) => port));
  expect(ports).toEqual([[4222], [6222], [7777]]);
  expect(ingress![0]!.from).toHaveLength(2);
});
