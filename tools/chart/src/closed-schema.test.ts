/** The schema of the chart's values, against the values. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { buckets, streams } from '@ironflow/schema';
import { parse } from 'yaml';
import { chartFolder } from './places.js';

interface Node {
  $ref?: string;
  type?: string | string[];
  description?: string;
  properties?: Record<string, Node>;
  additionalProperties?: boolean | Node;
  items?: Node;
  definitions?: Record<string, Node>;
}

const schema = JSON.parse(readFileSync(join(chartFolder, 'values.schema.json'), 'utf8')) as Node;
const valuesOf = (file: string) => parse(readFileSync(join(chartFolder, file), 'utf8')) as object;
const resolved = (node: Node): Node =>
  node.$ref === undefined ? node : schema.definitions![node.$ref.replace('#/definitions/', '')]!;

test('the schema knows every value, and no others', () => {
  const unknown: string[] = [];
  const missing: string[] = [];
  const compare = (path: string, given: Node, value: unknown): void => {
    const node = resolved(given);
    if (node.properties === undefined || typeof value !== 'object' || value === null) return;
    const named = value as Record<string, unknown>;
    for (const key of Object.keys(named)) {
      if (node.properties[key] === undefined) unknown.push(`${path}${key}`);
      else compare(`${path}${key}.`, node.properties[key], named[key]);
    }
    for (const key of Object.keys(node.properties)) {
      if (!(key in named)) missing.push(`${path}${key}`);
    }
  };
  compare('', schema, valuesOf('values.yaml'));
  expect({ unknown, missing }).toEqual({ unknown: [], missing: [] });
});

test('every object is closed, but those that are passed on to Kubernetes as they are', () => {
  const open: string[] = [];
  const walk = (path: string, node: Node): void => {
    if (node.properties !== undefined && node.additionalProperties !== false) open.push(path);
    for (const [key, inner] of Object.entries(node.properties ?? {})) walk(`${path}/${key}`, inner);
    for (const [key, inner] of Object.entries(node.definitions ?? {})) walk(`#${key}`, inner);
    if (node.items !== undefined) walk(`${path}[]`, node.items);
    if (typeof node.additionalProperties === 'object') walk(`${path}{}`, node.additionalProperties);
    const isObject = node.type === 'object';
    if (isObject && node.properties === undefined && node.additionalProperties === undefined) open.push(path);
  };
  walk('', schema);
  expect(open.sort()).toEqual(['#native', '#natives[]'].sort());
});

/** JetStream reserves what streams may take, and refuses one that does not fit. */
test.each(['values.yaml', 'profiles/dev.yaml', 'profiles/large.yaml'])(
  'the streams of %s fit into the servers’ store, with room for buckets, and that into the volume',
  (file) => {
    const { nats } = valuesOf(file) as {
      nats: {
        jetstream: { maxFileStore: string };
        storage: { size: string };
        streams?: Record<string, { maxBytes?: number }>;
      };
    };
    const gibibytes = (text: string): number => Number(/^(\d+)Gi$/.exec(text)![1]) * 1024 ** 3;
    const sizes = [
      ...Object.values(streams).map(({ name, maxBytes }) => nats.streams?.[name]?.maxBytes ?? maxBytes),
      ...Object.values(buckets).map(({ maxBytes }) => maxBytes),
    ];
    const reserved = sizes.reduce((sum, size) => sum + size, 0);
    const store = gibibytes(nats.jetstream.maxFileStore);
    expect(store).toBeGreaterThan(reserved * 1.25);
    expect(gibibytes(nats.storage.size)).toBeGreaterThan(store * 1.1);
  },
);
