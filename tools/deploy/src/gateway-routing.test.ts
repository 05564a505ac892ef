/** The gateway of compose.yaml sends every route of the platform where the local platform sends it. */
import { expect, test } from '@jest/globals';
import { serviceFor } from '@ironflow/platform';
import { routes, workerPath } from '@ironflow/schema';
import type { Route } from '@ironflow/schema';
import { readDeployed } from './files-of-deploy.js';

const caddyfile = readDeployed('gateway/Caddyfile');
const pattern = new RegExp(/path_regexp (\S+)/.exec(caddyfile)![1]!);
const workers = /@workers path (\S+)/.exec(caddyfile)![1];

function sentTo(method: string, path: string): string {
  if (path === workers) return 'executor';
  return method === 'POST' && pattern.test(path) ? 'ingest' : 'api';
}

const all = Object.entries<Route>(routes);
const methods = ['GET', 'POST', 'PUT', 'DELETE'];

test('requests of ingest are recognised by POST, and by a pattern', () => {
  const methodsOfIngest = all
    .filter(([, { service }]) => service === 'ingest')
    .map(([, { method }]) => method);
  expect(new Set(methodsOfIngest)).toEqual(new Set(['POST']));
  expect(caddyfile).toMatch(/@ingest \{\n\t\tmethod POST\n\t\tpath_regexp /);
});

test.each(all)('%s', (_name, { path }) => {
  const asked = path.replaceAll(/:\w+/g, 'one.of-them_1');
  for (const method of methods) {
    for (const variant of [asked, `${asked}/`, `${asked}/more`, `/prefix${asked}`]) {
      expect([method, variant, sentTo(method, variant)]).toEqual([
        method,
        variant,
        serviceFor(method, variant),
      ]);
    }
  }
});

test('workers reach executors, and what is no route the api', () => {
  expect(workers).toBe(workerPath);
  for (const path of ['/', '/readyz', '/v1/nothing', '/v1/workers/more']) {
    expect(sentTo('GET', path)).toBe(serviceFor('GET', path));
  }
  const handled = [
    ...caddyfile.matchAll(/handle( @\w+)? \{\n\t\treverse_proxy \{\n\t\t\tdynamic a (\S+) 8080/g),
  ];
  expect(handled.map(([, matcher, service]) => [matcher?.trim(), service])).toEqual([
    ...[
      ['@workers', 'executor'],
      ['@ingest', 'ingest'],
      [undefined, 'api'],
    ],
  ]);
});
