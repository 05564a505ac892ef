/** The chart's routing by path, against the routes that services declare. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { serviceFor } from '@ironflow/platform';
import { routes, workerPath } from '@ironflow/schema';
import type { Route } from '@ironflow/schema';
import { parse } from 'yaml';
import { chartFolder } from './places.js';
import { servedBy } from './routing.js';
import type { Routing } from './routing.js';

const template = readFileSync(join(chartFolder, 'templates/_routing.tpl'), 'utf8');
const text = /define "ironflow\.routing" -\}\}\n([^]*?)\{\{- end \}\}/.exec(template)![1]!;
const routing = parse(text) as Routing;

/** Parameters are ids of all kinds; none of them is a word of another route. */
const samplesOf = (path: string): string[] =>
  ['0198f6a2-0000-7000-8000-000000000001', 'user.created', 'nightly-report'].map((id) =>
    path.replaceAll(/:\w+/g, id),
  );

test.each(Object.values<Route>(routes).map((route) => [`${route.method} ${route.path}`, route] as const))(
  '%s reaches the service that answers it',
  (_name, { method, path, service }) => {
    for (const sample of samplesOf(path)) {
      expect([sample, servedBy(routing, sample)]).toEqual([sample, service]);
      expect(serviceFor(method, sample)).toBe(service);
    }
  },
);

test('workers reach executors', () => {
  expect(servedBy(routing, workerPath)).toBe('executor');
});

test('what is for the cluster alone is not routed', () => {
  for (const path of ['/metrics', '/backlog', '/']) expect(servedBy(routing, path)).toBeUndefined();
  for (const path of ['/healthz', '/readyz']) expect(servedBy(routing, path)).toBe('api');
});
