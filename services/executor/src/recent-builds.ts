/**
 * Which builds of which app have had a worker here lately. The consumer of a build's lane outlives its last worker, and all
 * tenants share the consumers that a stream may have: so an app has a limited number of them, whatever its workers say.
 */
import type { Lane } from '@ironflow/schema';

export interface RecentBuilds {
  /** Whether workers of that build may have a lane of their own. */
  admits(build: BuildKey): boolean;
  opened(build: BuildKey): void;
  closed(build: BuildKey): void;
}

export interface BuildKey extends Lane {
  scope: { environmentId: string };
}

export interface RecentBuildsOptions {
  /** Of one app. */
  buildsMax: number;
  /** How long a build counts after its lane was closed. */
  keptMs: number;
  nowMs: () => number;
}

export function createRecentBuilds({ buildsMax, keptMs, nowMs }: RecentBuildsOptions): RecentBuilds {
  /** By app, and by build until when it counts. */
  const apps = new Map<string, Map<string, number>>();
  const buildsOf = (key: BuildKey): Map<string, number> => {
    const app = `${key.scope.environmentId} ${key.appId}`;
    const builds = apps.get(app) ?? new Map<string, number>();
    for (const [buildId, untilMs] of builds) if (untilMs <= nowMs()) builds.delete(buildId);
    return builds;
  };
  const forgetApps = (): void => {
    for (const [app, builds] of apps) {
      if ([...builds.values()].every((untilMs) => untilMs <= nowMs())) apps.delete(app);
    }
  };
  const count = (key: BuildKey, untilMs: number): void => {
    if (key.buildId === undefined) return;
    forgetApps();
    apps.set(`${key.scope.environmentId} ${key.appId}`, buildsOf(key).set(key.buildId, untilMs));
  };
  return {
    admits: (key) => {
      if (key.buildId === undefined) return true;
      const builds = buildsOf(key);
      return builds.has(key.buildId) || builds.size < buildsMax;
    },
    opened: (key) => count(key, Number.POSITIVE_INFINITY),
    closed: (key) => count(key, nowMs() + keptMs),
  };
}
