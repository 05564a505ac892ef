/**
 * Organizations, projects, environments and their credentials: management, through Prisma and across
 * environments. Owns the tables of that name and the sealed signing keys; who a caller is decides
 * authentication.ts.
 */
import { randomBytes } from 'node:crypto';
import { IronflowError } from '@ironflow/errors';
import { createId, signingKeyPrefix, slugSchema } from '@ironflow/schema';
import type { Scope } from '@ironflow/schema';
import { ensureDataKey } from './data-keys.js';
import { asDatabaseError } from './database-error.js';
import type { Database } from './database.js';
import type { Secrets } from './envelope.js';
import type { Prisma } from './generated/client.js';
import { createApiKey, hashApiKey } from './keys.js';
import { createTimedCache } from './timed-cache.js';

export interface EnvironmentPath {
  organization: string;
  project: string;
  env: string;
}

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
  /** The newest first; cached for ten seconds. */
  signingKeys(environmentId: string): Promise<string[]>;
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
          // Two first calls for one path would both insert it; taken in turn, the second finds it.
          await transaction.$executeRaw`
            select pg_advisory_xact_lock(hashtextextended('ironflow.create_environment', 0))`;
          const scope = await ensureEnvironment(transaction, path);
          const signingKey = await ensureSigningKey(transaction, secrets, scope.environmentId);
          return { scope, apiKey: await addApiKey(transaction, secrets, scope.environmentId), signingKey };
        });
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
  };
}

function requireSlug(slug: string, field: keyof EnvironmentPath): void {
  const parsed = slugSchema.safeParse(slug);
  if (parsed.success) return;
  throw new IronflowError('invalid', 'slug_invalid', parsed.error.issues[0]!.message, { field });
}

type Transaction = Prisma.TransactionClient;

const freshId = (): string => createId(Date.now(), randomBytes(10));

async function ensureEnvironment(transaction: Transaction, path: EnvironmentPath): Promise<Scope> {
  const organization = await transaction.organization.upsert({
    where: { slug: path.organization },
    create: { id: freshId(), slug: path.organization },
    update: {},
  });
  const project = await transaction.project.upsert({
    where: { slug: path.project },
    create: { id: freshId(), slug: path.project, organizationId: organization.id },
    update: {},
  });
  if (project.organizationId !== organization.id) {
    throw new IronflowError(
      'conflict',
      'project_taken',
      `the project "${path.project}" belongs to another organization`,
      { field: 'project' },
    );
  }
  const environment = await transaction.environment.upsert({
    where: { projectId_name: { projectId: project.id, name: path.env } },
    create: { id: freshId(), projectId: project.id, projectSlug: project.slug, name: path.env },
    update: {},
  });
  return { environmentId: environment.id, project: project.slug, env: environment.name };
}

async function addApiKey(transaction: Transaction, secrets: Secrets, environmentId: string): Promise<string> {
  const apiKey = createApiKey(randomBytes(32));
  await transaction.apiKey.create({
    data: {
      id: freshId(),
      environmentId,
      name: 'created with the environment',
      keyHash: new Uint8Array(hashApiKey(apiKey, secrets.apiKeyPepper)),
      role: 'admin',
    },
  });
  return apiKey;
}

async function ensureSigningKey(
  transaction: Transaction,
  secrets: Secrets,
  environmentId: string,
): Promise<string> {
  const [existing] = await readSigningKeys(transaction, secrets, environmentId);
  if (existing !== undefined) return existing;
  const dataKey = await ensureDataKey(transaction, secrets, environmentId);
  // Revoked ones keep their versions.
  const newest = await transaction.signingKey.aggregate({
    where: { environmentId },
    _max: { version: true },
  });
  const version = (newest._max.version ?? 0) + 1;
  const signingKey = `${signingKeyPrefix}${randomBytes(32).toString('base64')}`;
  const sealed = new Uint8Array(secrets.seal(dataKey, signingKeyPlace(environmentId, version), signingKey));
  await transaction.signingKey.create({
    data: { id: freshId(), environmentId, version, dataKeyVersion: dataKey.version, sealed },
  });
  return signingKey;
}

async function readSigningKeys(
  from: Transaction,
  secrets: Secrets,
  environmentId: string,
): Promise<string[]> {
  const rows = await from.signingKey.findMany({
    where: { environmentId, revokedAt: null },
    include: { dataKey: true },
    orderBy: { version: 'desc' },
  });
  return rows.map(({ dataKey, version, sealed }) =>
    secrets.open(dataKey, signingKeyPlace(environmentId, version), sealed),
  );
}

function signingKeyPlace(environmentId: string, version: number) {
  return { environmentId, name: 'signing key', version };
}
