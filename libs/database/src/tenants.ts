/**
 * The credentials of environments, for whoever makes one or signs for it: through Prisma and across environments. What operators
 * do with tenants is in tenant-admin.ts; who a caller is decides authentication.ts.
 */
import { IronflowError } from '@ironflow/errors';
import { slugSchema } from '@ironflow/schema';
import type { Scope } from '@ironflow/schema';
import { asDatabaseError } from './database-error.js';
import type { Database } from './database.js';
import type { Secrets } from './envelope.js';
import {
  addApiKey,
  ensureEnvironment,
  ensureSigningKey,
  onboardingTimes,
  readSigningKeys,
  takeOnboardingTurn,
} from './onboarding.js';
import type { EnvironmentPath } from './onboarding.js';
import { createTimedCache } from './timed-cache.js';

/** Shown once: of the API key only a hash is kept. */
export interface EnvironmentCredentials {
  scope: Scope;
  apiKey: string;
  /** The newest one. */
  signingKey: string;
}

export interface TenantStore {
  /** What exists of the path is kept; every call makes a new API key. Needs ironflow_service. */
  createEnvironment(path: EnvironmentPath): Promise<EnvironmentCredentials>;
  /** The newest first; cached for ten seconds, or until they are forgotten. */
  signingKeys(environmentId: string): Promise<string[]>;
  forgetSigningKeys(environmentId: string): void;
}

const signingKeysCached = { entriesMax: 10_000, lifetimeMs: 10_000 };

export function createTenantStore(database: Database, secrets: Secrets): TenantStore {
  const { prisma } = database;
  const cache = createTimedCache<string[]>(signingKeysCached);

  return {
    createEnvironment: async (path) => {
      for (const field of ['organization', 'project', 'env'] as const) requireSlug(path[field], field);
      try {
        return await prisma.$transaction(async (transaction) => {
          await takeOnboardingTurn(transaction);
          const { id: environmentId } = await ensureEnvironment(transaction, path);
          const scope = { environmentId, project: path.project, env: path.env };
          const signingKey = await ensureSigningKey(transaction, secrets, environmentId);
          return { scope, apiKey: await addApiKey(transaction, secrets, environmentId), signingKey };
        }, onboardingTimes);
      } catch (error) {
        throw asDatabaseError(error);
      }
    },
    signingKeys: (environmentId) =>
      cache.get(environmentId, () =>
        readSigningKeys(prisma, secrets, environmentId).catch((error: unknown) => {
          throw asDatabaseError(error);
        }),
      ),
    forgetSigningKeys: (environmentId) => cache.forget((_keys, of) => of === environmentId),
  };
}

function requireSlug(slug: string, field: keyof EnvironmentPath): void {
  const parsed = slugSchema.safeParse(slug);
  if (parsed.success) return;
  throw new IronflowError('invalid', 'slug_invalid', parsed.error.issues[0]!.message, { field });
}
