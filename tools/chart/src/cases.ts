/** Sets of values that the chart is rendered with: its profiles, and each way to have something another way. */
import type { Values } from './helm.js';

const secrets = {
  secrets: { existingSecret: 'ironflow-secrets' },
  postgres: { existingSecret: 'ironflow-postgres' },
};
const host = { ingress: { host: 'ironflow.example.com' } };

export const cases = {
  defaults: { values: secrets },
  dev: { profiles: ['dev'], values: secrets },
  production: { profiles: ['production'], values: host },
  large: { profiles: ['production', 'large'], values: host },
  'NATS of your own, by creds': {
    values: {
      ...secrets,
      nats: { enabled: false },
      externalNats: {
        urls: ['tls://nats-0.example.com:4222', 'tls://nats-1.example.com:4223'],
        auth: { mode: 'creds', existingSecret: 'nats-creds', keys: { accounts: 'accounts.json' } },
        tls: { caSecret: 'nats-ca', clientSecret: 'nats-client' },
      },
      backup: { enabled: true, target: 's3://backups', s3: { existingSecret: 'storage' } },
    },
  },
  'NATS of your own, by token': {
    values: {
      ...secrets,
      nats: { enabled: false },
      externalNats: {
        urls: ['tls://nats.example.com'],
        auth: { mode: 'token', existingSecret: 'nats-token' },
      },
    },
  },
  'NATS in operator mode': {
    values: {
      ...secrets,
      nats: { auth: { mode: 'operator', existingSecret: 'ironflow-nats-operator' } },
      backup: { enabled: true, existingClaim: 'backups', only: 'buckets' },
    },
  },
  'NATS with a password of yours': {
    values: { ...secrets, nats: { auth: { mode: 'existingSecret', existingSecret: 'nats-password' } } },
  },
  'certificates of yours': {
    values: {
      ...secrets,
      tls: {
        mode: 'existingSecret',
        existingSecret: { services: 'services-certificate', nats: 'nats-certificate' },
      },
    },
  },
  'a mesh': {
    values: { ...secrets, profile: 'dev', acceptRisks: ['plain-http'], tls: { http: false } },
  },
  'Gateway API': {
    values: {
      ...secrets,
      httpRoute: {
        enabled: true,
        parentRefs: [{ name: 'public', namespace: 'gateways' }],
        hostnames: ['ironflow.example.com'],
      },
    },
  },
  'another ingress controller': {
    values: {
      ...secrets,
      ingress: {
        enabled: true,
        controller: 'other',
        host: 'ironflow.example.com',
        tls: { secretName: 'tls' },
        patterns: { prefix: '/~' },
      },
    },
  },
  everything: {
    profiles: ['production'],
    values: {
      ...host,
      nameOverride: 'engine',
      commonLabels: { team: 'platform' },
      commonAnnotations: { 'example.com/owner': 'platform' },
      trustedProxies: ['10.0.0.0/8'],
      global: { imageRegistry: 'registry.example.com', imagePullSecrets: ['pull'] },
      image: { tag: '1.2.3', tags: { scheduler: '1.2.2' }, digests: { api: `sha256:${'0'.repeat(64)}` } },
      security: { runAsUser: null },
      serviceDefaults: {
        env: { OTEL_LOG_LEVEL: 'info' },
        extraEnv: [{ name: 'NODE_NAME', valueFrom: { fieldRef: { fieldPath: 'spec.nodeName' } } }],
        extraVolumes: [{ name: 'extra', emptyDir: {} }],
        extraVolumeMounts: [{ name: 'extra', mountPath: '/extra' }],
        podAnnotations: { 'example.com/scrape': 'yes' },
        podLabels: { 'example.com/tier': 'backend' },
        nodeSelector: { 'kubernetes.io/os': 'linux' },
        tolerations: [{ key: 'dedicated', operator: 'Exists' }],
        affinity: { nodeAffinity: {} },
        priorityClassName: 'system-cluster-critical',
      },
      services: {
        ingest: { autoscaling: { mode: 'hpa' } },
        api: { env: { LOG_LEVEL: 'debug' }, podDisruptionBudget: { enabled: false } },
      },
      nats: { podAnnotations: { 'example.com/scrape': 'yes' }, extraConfig: 'max_connections: 10000' },
      executor: { outboundAllow: ['10.20.0.0/16', 'fd00::/8'], drainSeconds: 120 },
      otel: {
        endpoint: 'https://collector.example.com:4318',
        headersSecret: { name: 'collector' },
        sampleRatio: 0.1,
      },
      networkPolicy: {
        clients: [{ namespaceSelector: {} }],
        natsClients: [{ podSelector: { matchLabels: { app: 'publisher' } } }],
        postgres: { to: [{ ipBlock: { cidr: '10.1.0.0/16' } }] },
        otel: { to: [{ namespaceSelector: {} }] },
        backupStorage: { to: [{ ipBlock: { cidr: '10.2.0.0/16' } }] },
      },
      backup: {
        enabled: true,
        target: 's3://backups/ironflow',
        s3: {
          existingSecret: 'storage',
          endpoint: 'https://storage.example.com:9000',
          caSecret: { name: 'storage-ca' },
        },
      },
      test: { caSecret: { name: 'ingress-ca' } },
      extraObjects: [
        { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: '{{ .Release.Name }}-extra' } },
        'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: "{{ .Release.Name }}-text"}\n',
      ],
    },
  },
} as const satisfies Record<string, Values>;

export type CaseName = keyof typeof cases;
