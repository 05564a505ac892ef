/**
 * What an environment begins with: its place, an API key, a data key and a signing key. Steps of a transaction that others begin,
 * as ironflow_service; each keeps what is there.
 */
import { randomBytes } from 'node:crypto';
import { IronflowError } from '@ironflow/errors';
import { createId } from '@ironflow/schema';
import { ensureDataKey } from './data-keys.js';
import type { Secrets } from './envelope.js';
import type { Prisma } from './generated/client.js';
import { createApiKey, hashApiKey } from './keys.js';
import { createSigningKey, signingKeyPlace } from './signing-keys.js';

export type Transaction = Prisma.TransactionClient;

export interface EnvironmentPath {
  organization: string;
  project: string;
  env: string;
}

/** Many short statements, and they may have to wait for their turn: longer than the five seconds that are the default. */
export const onboardingTimes = { maxWait: 10_000, timeout: 30_000 };

export interface EnsuredEnvironment {
  id: string;
  /** It was not there before. */
  created: boolean;
  archivedAt: Date | null;
  eraseAfter: Date | null;
  erasedAt: Date | null;
}

/** Two first calls for one path would both insert it; taken in turn, the second finds it. */
export async function takeOnboardingTurn(transaction: Transaction): Promise<void> {
  await transaction.$executeRaw`
    select pg_advisory_xact_lock(hashtextextended('ironflow.create_environment', 0))`;
}

const freshId = (): string => createId(Date.now(), randomBytes(10));

/** Rejects with `project_taken`, or with `tenant_ended` for one that was erased. */
export async function ensureEnvironment(
  transaction: Transaction,
  path: EnvironmentPath,
): Promise<EnsuredEnvironment> {
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
  const place = { projectId: project.id, name: path.env };
  const known = await transaction.environment.findUnique({ where: { projectId_name: place } });
  if (known !== null && known.erasedAt !== null) {
    const message = `the environment "${path.env}" of "${path.project}" was erased: its name is not used again`;
    throw new IronflowError('conflict', 'tenant_ended', message, { field: 'environments' });
  }
  const environment =
    known ??
    (await transaction.environment.create({ data: { id: freshId(), projectSlug: project.slug, ...place } }));
  return { ...environment, created: known === null };
}

/** Of role admin. */
export async function addApiKey(
  transaction: Transaction,
  secrets: Secrets,
  environmentId: string,
): Promise<string> {
  const apiKey = createApiKey(randomBytes(32));
  await transaction.apiKey.create({
    data: {
      id: freshId(),
      environmentId,
      name: 'made with the environment or by an operator',
      keyHash: new Uint8Array(hashApiKey(apiKey, secrets.apiKeyPepper)),
      role: 'admin',
    },
  });
  return apiKey;
}

/** The newest that is live. */
export async function ensureSigningKey(
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
  const signingKey = createSigningKey();
  const sealed = new Uint8Array(secrets.seal(dataKey, signingKeyPlace(environmentId, version), signingKey));
  await transaction.signingKey.create({
    data: { id: freshId(), environmentId, version, dataKeyVersion: dataKey.version, sealed },
  });
  return signingKey;
}

/** Those that calls are signed with, the newest first. */
export async function readSigningKeys(
  from: Transaction,
  secrets: Secrets,
  environmentId: string,
): Promise<string[]> {
  const rows = await from.signingKey.findMany({
    where: { environmentId, revokedAt: null, OR: [{ expiresAt: null }, { expiresAt: { gt: new Date() } }] },
    include: { dataKey: true },
    orderBy: { version: 'desc' },
  });
  return rows.map(({ dataKey, version, sealed }) =>
    secrets.open(dataKey, signingKeyPlace(environmentId, version), sealed),
  );
}
