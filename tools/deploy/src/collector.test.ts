import { expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { z } from 'zod';
import { serviceNames } from '@ironflow/platform';
import { readDeployed } from './files-of-deploy.js';

const text = readDeployed('otel/collector.yaml');
const names = z.array(z.string());
const pipeline = z.strictObject({ receivers: names, processors: names, exporters: names });
/** The keys that these components document, and no other. */
const configuration = z
  .strictObject({
    receivers: z.strictObject({
      otlp: z.strictObject({
        protocols: z.strictObject({ http: z.strictObject({ endpoint: z.string() }) }),
      }),
      prometheus: z.strictObject({
        config: z.strictObject({ scrape_configs: z.array(z.looseObject({ job_name: z.string() })) }),
      }),
    }),
    processors: z.strictObject({
      memory_limiter: z.strictObject({
        check_interval: z.string(),
        limit_mib: z.number(),
        spike_limit_mib: z.number(),
      }),
      batch: z.strictObject({ timeout: z.string() }),
    }),
    exporters: z.strictObject({
      otlphttp: z.strictObject({
        endpoint: z.string(),
        headers: z.record(z.string(), z.string()),
        retry_on_failure: z.strictObject({ max_elapsed_time: z.string() }),
        sending_queue: z.strictObject({ queue_size: z.number() }),
      }),
    }),
    service: z.strictObject({
      pipelines: z.strictObject({ traces: pipeline, metrics: pipeline }),
    }),
  })
  .parse(parse(text));

test('every part of the pipelines is there, and what is refused for want of memory is so first', () => {
  const { receivers, processors, exporters, service } = configuration;
  for (const part of Object.values(service.pipelines)) {
    expect(Object.keys(receivers)).toEqual(expect.arrayContaining(part.receivers));
    expect(Object.keys(processors)).toEqual(expect.arrayContaining(part.processors));
    expect(Object.keys(exporters)).toEqual(expect.arrayContaining(part.exporters));
    expect(part.processors[0]).toBe('memory_limiter');
  }
});

test('all services are scraped', () => {
  for (const name of serviceNames) expect(text).toContain(`- ${name}.\${env:SERVICES_DOMAIN}`);
});

test('what it is told by its environment is listed at its head', () => {
  const used = [...text.matchAll(/\$\{env:(\w+)\}/g)].map(([, name]) => name);
  const listed = [...text.matchAll(/^# {3}([A-Z_]+) +/gm)].map(([, name]) => name);
  expect([...new Set(used)].sort()).toEqual([...listed].sort());
});
