/**
 * Which Service answers a request, by the rendered Ingress, as ingress-nginx reads it. Pure.
 *
 * With its annotation `use-regex` every path of the host is a regular expression without regard to case, whatever its type says: the longest
 * text is tried first, and an exact path is none unless it ends in `$`.
 */
import { routes } from '@ironflow/schema';
import type { Route as PlatformRoute } from '@ironflow/schema';
import type { Ingress } from './manifest.js';

export type Route = (path: string) => string | undefined;

const useRegex = 'nginx.ingress.kubernetes.io/use-regex';

/** Answers with the name of the Service. */
export function routeOf({ metadata, spec }: Ingress): Route {
  const isRegex = metadata.annotations[useRegex] === 'true';
  const rules = spec.rules
    .flatMap(({ http }) => http.paths)
    .map(({ path, pathType, backend }) => ({
      service: backend.service.name,
      length: path.length,
      isExact: !isRegex && pathType === 'Exact',
      matches: isRegex ? matchesPattern(path) : matchesType(path, pathType),
    }))
    .sort((a, b) => Number(b.isExact) - Number(a.isExact) || b.length - a.length);
  return (path) => rules.find(({ matches }) => matches(path))?.service;
}

/** In sentences: which routes of the platform do not reach the service that answers them; empty if all do. */
export function misroutedBy(route: Route): string[] {
  return Object.values<PlatformRoute>(routes)
    .map(({ method, path, service }) => ({ method, path: path.replaceAll(/:\w+/g, 'one'), service }))
    .filter(({ path, service }) => route(path)?.endsWith(`-${service}`) !== true)
    .map(({ method, path }) => `${method} ${path} is sent to ${route(path) ?? 'nobody'}`);
}

function matchesPattern(path: string): (asked: string) => boolean {
  const pattern = new RegExp(`^${path}`, 'i');
  return (asked) => pattern.test(asked);
}

function matchesType(path: string, pathType: string): (asked: string) => boolean {
  if (pathType === 'Exact') return (asked) => asked === path;
  const prefix = path.replace(/\/$/, '');
  return (asked) => asked === prefix || asked.startsWith(`${prefix}/`);
}
