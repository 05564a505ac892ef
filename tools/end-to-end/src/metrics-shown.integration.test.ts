/** The table of metrics in docs/operations/metrics.md, written from what the services declare. */
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { serviceNames, services } from '@ironflow/platform';
import type { MetricFamily, Metrics } from '@ironflow/service';
import { settleGenerated } from './generated-docs.mjs';
import { startPlatformUnderTest } from './platform-under-test.js';
import type { PlatformUnderTest } from './platform-under-test.js';

const document = fileURLToPath(new URL('../../../docs/operations/metrics.md', import.meta.url));

interface ShownMetric extends MetricFamily {
  services: string[];
}

let world: PlatformUnderTest;
/** By service. */
const metrics = new Map<string, Metrics>();

beforeAll(async () => {
  world = await startPlatformUnderTest();
  for (const name of serviceNames) {
    // Every definition has a configuration shape of its own, which only its own start reads.
    const replica = await world.startReplica(services[name] as (typeof services)['executor']);
    metrics.set(name, replica.metrics);
  }
}, 60_000);
afterAll(() => world?.stop(), 30_000);

test('every metric is shown with its type, labels, unit, services and meaning', () => {
  const shown = new Map<string, ShownMetric>();
  for (const [service, ofService] of metrics) {
    for (const family of ofService.families()) {
      const known = shown.get(family.name);
      expect({ ...family, services: known?.services }).toEqual(known ?? { ...family, services: undefined });
      shown.set(family.name, { ...family, services: [...(known?.services ?? []), service] });
    }
  }
  const rows = [...shown.values()].sort((a, b) => (a.name < b.name ? -1 : 1)).map(rowOf);
  const head = ['| metric | type | labels | unit | services | meaning |', '|---|---|---|---|---|---|'];
  expect(settleGenerated(document, 'metrics', [...head, ...rows].join('\n'))).toBeUndefined();
});

test('no sample has a label that its metric does not declare', async () => {
  const { client } = world.tenant;
  await client.emit({ name: 'nobody.listens', data: {} });
  for (const [service, ofService] of metrics) {
    const text = await ofService.render();
    const declared = new Map(ofService.families().map((family) => [family.name, family.labels]));
    for (const [, sample = '', labels = ''] of text.matchAll(/^([a-z_]+)\{([^}]*)\} /gm)) {
      const labelsOf = declared.get(sample) ?? declared.get(sample.replace(/_(bucket|sum|count)$/, ''));
      const names = [...labels.matchAll(/([a-z_]+)="/g)].map(([, name]) => name!);
      const own = names.filter((name) => name !== 'service_name' && name !== 'le');
      expect([service, sample, own.every((name) => labelsOf?.includes(name))]).toEqual([
        service,
        sample,
        true,
      ]);
    }
  }
});

function rowOf({ name, type, labels, services: of, help }: ShownMetric): string {
  const labelText = labels.map((label) => `\`${label}\``).join(', ');
  const where = of.length === serviceNames.length ? 'all' : of.join(', ');
  return `| \`${name}\` | ${type} | ${labelText} | ${unitOf(name)} | ${where} | ${help} |`;
}

function unitOf(name: string): string {
  return /_(seconds|bytes)(_total)?$/.exec(name)?.[1] ?? '';
}
