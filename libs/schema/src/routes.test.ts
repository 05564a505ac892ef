import { expect, test } from '@jest/globals';
import { routes } from './routes.js';
import type { Route } from './routes.js';

/** Whoever puts the services behind one URL can tell them apart by path alone: an Ingress knows no methods. */
test('no path is answered by two services', () => {
  const services = new Map<string, Set<string>>();
  for (const { path, service } of Object.values<Route>(routes)) {
    const shape = path.replaceAll(/:\w+/g, ':');
    services.set(shape, (services.get(shape) ?? new Set()).add(service));
  }
  expect([...services].filter(([, answering]) => answering.size > 1)).toEqual([]);
});
