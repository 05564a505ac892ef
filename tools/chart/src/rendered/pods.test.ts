/** What holds for every pod, whoever makes it. */
import { beforeAll, describe, expect, test } from '@jest/globals';
import { podSpecOf } from '../manifests.js';
import type { Manifest } from '../manifests.js';
import { caseNames, renderCase } from '../testing/rendered.js';

describe.each(caseNames)('%s', (caseName) => {
  let manifests: Manifest[];
  beforeAll(async () => {
    manifests = await renderCase(caseName);
  }, 60_000);
  const pods = () => manifests.flatMap((manifest) => podSpecOf(manifest) ?? []);

  test('pods may do nothing but run', () => {
    expect(pods().length).toBeGreaterThan(7);
    for (const pod of pods()) {
      expect(pod).toMatchObject({
        automountServiceAccountToken: false,
        enableServiceLinks: false,
        securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
      });
      for (const { securityContext } of pod.containers) {
        expect(securityContext).toEqual({
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ['ALL'] },
        });
      }
    }
  });

  test('every container says what it needs, and what of memory it may have', () => {
    for (const { resources } of pods().flatMap(({ containers }) => containers)) {
      expect(resources).toMatchObject({
        requests: { memory: expect.anything() },
        limits: { memory: expect.anything() },
      });
    }
  });

  test('every volume is mounted, and every mount has its volume', () => {
    for (const { containers, volumes = [] } of pods()) {
      const mounted = new Set(
        containers.flatMap(({ volumeMounts = [] }) => volumeMounts.map(({ name }) => name)),
      );
      // The claim of NATS is a template beside its pods.
      mounted.delete('data');
      expect([...mounted].sort()).toEqual(volumes.map(({ name }) => name).sort());
    }
  });

  test('nothing secret is in the open: secrets are referred to, and those that are made are Secrets', () => {
    const made = manifests.filter(({ kind }) => kind === 'Secret');
    const values = made.flatMap(({ data = {} }) =>
      Object.entries(data)
        .filter(([key]) => ['password', 'tls.key'].includes(key))
        .flatMap(([, value]) => [value, Buffer.from(value, 'base64').toString()]),
    );
    const others = JSON.stringify(manifests.filter(({ kind }) => kind !== 'Secret'));
    for (const value of values) expect(others).not.toContain(JSON.stringify(value).slice(1, -1));
    const variables = pods().flatMap(({ containers }) => containers.flatMap(({ env = [] }) => env));
    const secretNames = /PASSWORD|TOKEN|_KEY$|DATABASE_URL|HEADERS/;
    for (const { name, value } of variables) {
      if (secretNames.test(name)) expect([name, value]).toEqual([name, undefined]);
    }
  });

  test('names are unique and short enough for what is put behind them', () => {
    const names = manifests.map(({ kind, metadata }) => `${kind} ${metadata.name}`);
    expect(names).toEqual([...new Set(names)]);
    for (const { metadata } of manifests) expect(metadata.name.length).toBeLessThanOrEqual(63);
  });
});
