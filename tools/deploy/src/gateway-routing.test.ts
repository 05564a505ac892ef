/** The gateway of compose.yaml sends every route of the platform where the local platform sends it. */
import { expect, test } from '@jest/globals';
import { serviceFor } from '@ironflow/platform';
import { routes, workerPath } from '@ironflow/schema';
import type { Route } from '@ironflow/schema';
import { readDeployed } from './files-of-deploy.js';

const caddyfile = readDeployed('gateway/Caddyfile');
const ingest =
  /@ingest `\(method\('POST'\) && path_regexp\('(.+)'\)\) \|\| \(method\('GET'\) && path\('(.+)'\)\)`/.exec(
    caddyfile,
  )!;
const pattern = new RegExp(ingest[1]!);
const workers = /@workers path (\S+)/.exec(caddyfile)![1];

function sentTo(method: string, path: string): string {
  if (path === workers) return 'executor';
  const isIngest = (method === 'POST' && pattern.test(path)) || (method === 'GET' && path === ingest[2]);
  return isIngest ? 'ingest' : 'api';
}

const all = Object.entries<Route>(routes);
const methods = ['GET', 'POST', 'PUT', 'DELETE'];

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
