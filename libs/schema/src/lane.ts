/**
 * What brings activations to the workers of a pull app: one lane that all of them serve, and one for each build that runs are
 * pinned to, which only workers of that build serve. Each has its own subjects, consumer and presence, so that everything that
 * is said of an app's workers can be said of a build's.
 */
import { appIdSchema, buildIdSchema } from './identifiers.js';

export interface Lane {
  appId: string;
  buildId?: string | undefined;
}

/** No id has this character; subjects, names of consumers and keys of buckets may. */
const separator = '=';

/** One token of a subject or a key. */
export function laneToken({ appId, buildId }: Lane): string {
  return buildId === undefined ? appId : `${appId}${separator}${buildId}`;
}

export function parseLane(token: string): Lane | undefined {
  const [appId = '', buildId, ...more] = token.split(separator);
  if (more.length > 0 || !appIdSchema.safeParse(appId).success) return undefined;
  if (buildId === undefined) return { appId };
  return buildIdSchema.safeParse(buildId).success ? { appId, buildId } : undefined;
}
