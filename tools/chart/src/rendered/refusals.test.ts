/** Values that do not go together are refused, with a sentence that says what to do. */
import { expect, test } from '@jest/globals';
import type { Values } from '../helm.js';
import { refusal, render } from '../testing/rendered.js';

const secrets = { secrets: { existingSecret: 's' }, postgres: { existingSecret: 'p' } };
const dev = { ...secrets, profile: 'dev' };
const external = { ...dev, nats: { enabled: false } };

const refused: [string, object, string][] = [
  ['no secrets', {}, 'secrets.existingSecret: name a Secret with the master key'],
  ['no database', { secrets: { existingSecret: 's' } }, 'postgres.existingSecret: name a Secret'],
  ['two of NATS', { ...dev, externalNats: { urls: ['tls://x'] } }, 'the platform has one NATS'],
  ['no NATS', external, 'the addresses of your servers are needed'],
  ['an even number of servers', { ...dev, nats: { replicas: 2, streamReplicas: 1 } }, '1, 3 or 5'],
  ['more copies than servers', { ...dev, nats: { replicas: 1 } }, '3 copies of a stream do not fit'],
  ['backups that go nowhere', { ...secrets, backup: { enabled: true } }, 'backup.target: name a place'],
  [
    'backups that go to two places',
    { ...secrets, backup: { enabled: true, target: 's3://b', existingClaim: 'c' } },
    'backups go to one place',
  ],
  [
    'backups without the login of their storage',
    { ...secrets, backup: { enabled: true, target: 's3://b' } },
    'backup.s3.existingSecret: name a Secret',
  ],
  [
    'operator mode without its Secret',
    { ...dev, nats: { auth: { mode: 'operator' } } },
    'auth.mode operator needs',
  ],
  [
    'creds without their Secret',
    { ...external, externalNats: { urls: ['tls://x'], auth: { mode: 'creds' } } },
    'auth.mode creds needs a Secret',
  ],
  [
    'a certificate that is not there',
    { ...external, externalNats: { urls: ['tls://x'], auth: { mode: 'certificate' } } },
    'auth.mode certificate needs',
  ],
  ['nobody', { ...external, externalNats: { urls: ['tls://x'] } }, 'accept the risk anonymous-nats'],
  [
    'NATS in the open',
    { ...external, externalNats: { urls: ['nats://x'], auth: { mode: 'token', existingSecret: 't' } } },
    'nats://x is spoken to in the open',
  ],
  ['no TLS', { ...dev, tls: { mode: 'none' } }, 'accept the risk plain-http'],
  [
    'no TLS for NATS',
    { ...dev, acceptRisks: ['plain-http'], tls: { mode: 'none' } },
    'accept the risk plain-nats',
  ],
  ['services by http', { ...dev, tls: { http: false } }, 'accept the risk plain-http'],
  [
    'certificates of nowhere',
    { ...dev, tls: { mode: 'existingSecret' } },
    'tls.existingSecret.services: name',
  ],
  ['servers without', { ...dev, tls: { mode: 'existingSecret' } }, 'tls.existingSecret.nats: name a Secret'],
  ['no issuer', { ...dev, tls: { mode: 'certManager' } }, 'tls.certManager.issuerRef.name: name the issuer'],
  [
    'less grace than the drain takes',
    {
      ...dev,
      executor: { drainSeconds: 120 },
      services: { executor: { terminationGracePeriodSeconds: 60 } },
    },
    'services.executor.terminationGracePeriodSeconds: 60 would kill it while it hands its work over, for which it may take 130',
  ],
  [
    'KEDA for others',
    { ...dev, services: { api: { autoscaling: { mode: 'keda' } } } },
    'keda scales the executor alone',
  ],
  [
    'fewer than none',
    { ...dev, services: { api: { autoscaling: { mode: 'hpa', minReplicas: 9, maxReplicas: 3 } } } },
    'minReplicas is more than maxReplicas',
  ],
  [
    'CPU that nobody asked for',
    {
      ...dev,
      services: { api: { autoscaling: { mode: 'hpa' } } },
      serviceDefaults: { resources: { requests: { cpu: null } } },
    },
    'hpa scales by the share of it',
  ],
  [
    'more connections than the server has',
    { ...dev, postgres: { existingSecret: 'p', connectionsMax: 100 } },
    'services could ask for',
  ],
  ['an Ingress without host', { ...dev, ingress: { enabled: true } }, 'ingress.host: name the host'],
  ['a route without Gateway', { ...dev, httpRoute: { enabled: true, hostnames: ['x.y'] } }, 'name a Gateway'],
  [
    'a route without host',
    { ...dev, httpRoute: { enabled: true, parentRefs: [{ name: 'g' }] } },
    'httpRoute.hostnames',
  ],
  [
    'a route that trusts nobody',
    {
      ...dev,
      httpRoute: { enabled: true, parentRefs: [{ name: 'g' }], hostnames: ['x.y'] },
      tls: { mode: 'certManager', certManager: { issuerRef: { name: 'i' } } },
    },
    'httpRoute.caConfigMap',
  ],
  [
    'risks in production',
    { ...secrets, acceptRisks: ['plain-http'] },
    'production takes none, and plain-http would be',
  ],
  [
    'one server in production',
    { ...secrets, nats: { replicas: 1, streamReplicas: 1 } },
    'production needs 3 servers, not 1',
  ],
  ['one copy in production', { ...secrets, nats: { streamReplicas: 1 } }, 'production needs 3 copies, not 1'],
  [
    'no syncing in production',
    { ...secrets, nats: { jetstream: { syncAlways: false } } },
    'a power failure takes messages',
  ],
  [
    'one executor in production',
    { ...secrets, services: { executor: { replicas: 1 } } },
    'at least 2 replicas, not 1',
  ],
  [
    'keys in the open in production',
    { ...secrets, ingress: { enabled: true, host: 'x.y' } },
    'ingress.tls.secretName',
  ],
  // By the schema.
  ['a value that is none', { ...dev, replicas: 3 }, "additional properties 'replicas' not allowed"],
  ['a service that is none', { ...dev, services: { dashboard: {} } }, 'dashboard'],
  ['a risk that is none', { ...dev, acceptRisks: ['everything'] }, 'acceptRisks'],
  ['a number that is none', { ...dev, nats: { replicas: 'three' } }, 'replicas'],
];

test.each(refused)('%s is refused', async (_name, values, sentence) => {
  expect(await refusal({ values })).toContain(sentence);
});

test('everything that is wrong is said at once', async () => {
  const said = await refusal({ values: { nats: { replicas: 1 } } });
  for (const sentence of ['secrets.existingSecret', 'postgres.existingSecret', 'nats.streamReplicas']) {
    expect(said).toContain(sentence);
  }
});

test.each<[string, Values]>([
  [
    'services by http behind a mesh',
    { values: { ...dev, acceptRisks: ['plain-http'], tls: { http: false } } },
  ],
  [
    'as many connections as there are',
    { values: { ...dev, postgres: { existingSecret: 'p', connectionsMax: 500 } } },
  ],
])('%s is taken once it is said', async (_name, values) => {
  expect((await render(values)).length).toBeGreaterThan(20);
});

/** The figures of docs/operations/size.md. */
test.each([
  [['dev'], 74],
  [['production'], 376],
  [['production', 'large'], 503],
] as const)('the connections that %j could ask for are counted', async (profiles, connections) => {
  const values = (most: number) => ({
    ...secrets,
    ingress: { host: 'x.example.com' },
    postgres: { existingSecret: 'p', connectionsMax: most },
  });
  expect(await refusal({ profiles, values: values(connections - 1) })).toContain(
    `for ${connections} connections`,
  );
  expect((await render({ profiles, values: values(connections) })).length).toBeGreaterThan(20);
});
