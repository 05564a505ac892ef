/**
 * The three roles of a database: ironflow_owner owns the tables and only migrates; ironflow_service and
 * ironflow_tenant are what services log in as. Roles belong to the whole PostgreSQL server, so several
 * databases may set them up at once.
 */
import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';
import { IronflowError } from '@ironflow/errors';
import type pg from 'pg';
import { codeOf } from './database-error.js';

export type ServiceRole = 'ironflow_service' | 'ironflow_tenant';

/** What the two service roles log in with. */
export interface ServicePasswords {
  service: string;
  tenant: string;
}

/** The URL of the same database as one of the service roles. */
export function serviceUrl(ownerUrl: string, role: ServiceRole, password: string): string {
  const url = new URL(ownerUrl);
  url.username = role;
  url.password = encodeURIComponent(password);
  return url.href;
}

/** Creates what is missing, sets the passwords given, and lets the administrator act as ironflow_owner. */
export async function ensureRoles(admin: pg.Client, passwords: ServicePasswords | undefined): Promise<void> {
  const { rows } = await admin.query<{ superuser: boolean; may_create: boolean; existing: string[] }>(
    readRoles,
  );
  const { superuser, may_create: mayCreate, existing } = rows[0]!;
  const missing = roleNames.filter((name) => !existing.includes(name));
  if ((missing.length > 0 || passwords !== undefined) && !superuser && !mayCreate) {
    throw new IronflowError(
      'forbidden',
      'role_creation_forbidden',
      'migrating needs a login that may create roles (CREATEROLE); or create ironflow_owner, ironflow_service and ' +
        'ironflow_tenant beforehand, grant it ironflow_owner, and leave the passwords out',
    );
  }
  for (const name of missing) await atOnce(() => createRole(admin, name));
  if (passwords !== undefined) {
    await atOnce(() => setPassword(admin, 'ironflow_service', passwords.service));
    await atOnce(() => setPassword(admin, 'ironflow_tenant', passwords.tenant));
  }
  if (!(await mayActAsOwner(admin))) await atOnce(() => admin.query('grant ironflow_owner to current_user'));
  await admin.query(`revoke create on schema public from public;
    grant usage, create on schema public to ironflow_owner;
    grant usage on schema public to ironflow_service, ironflow_tenant`);
}

const roleNames = ['ironflow_owner', 'ironflow_service', 'ironflow_tenant'] as const;

const readRoles = `select r.rolsuper as superuser, r.rolcreaterole as may_create,
    coalesce((select array_agg(o.rolname::text) from pg_roles o
      where o.rolname in ('ironflow_owner', 'ironflow_service', 'ironflow_tenant')), '{}') as existing
  from pg_roles r where r.rolname = current_user`;

async function createRole(admin: pg.Client, name: (typeof roleNames)[number]): Promise<void> {
  const login = name === 'ironflow_owner' ? 'nologin' : 'login';
  await admin.query(
    `create role ${name} ${login} nosuperuser nocreatedb nocreaterole noreplication nobypassrls`,
  );
}

async function setPassword(admin: pg.Client, role: ServiceRole, password: string): Promise<void> {
  const verifier = admin.escapeLiteral(scramVerifier(password));
  await admin.query(`alter role ${role} with login password ${verifier}`);
}

/** As PostgreSQL makes it by default. */
const scram = { iterations: 4096, saltBytes: 16, keyBytes: 32 };

/** RFC 5802. A statement that fails is written into the server's log: the password is not in it. */
function scramVerifier(password: string): string {
  const salt = randomBytes(scram.saltBytes);
  const salted = pbkdf2Sync(prepared(password), salt, scram.iterations, scram.keyBytes, 'sha256');
  const keyed = (name: string): Buffer => createHmac('sha256', salted).update(name).digest();
  const storedKey = createHash('sha256').update(keyed('Client Key')).digest('base64');
  const serverKey = keyed('Server Key').toString('base64');
  return `SCRAM-SHA-256$${scram.iterations}:${salt.toString('base64')}$${storedKey}:${serverKey}`;
}

/** SASLprep (RFC 4013), as every client does it before it logs in: spaces, what is mapped to nothing, NFKC. */
function prepared(password: string): string {
  return password
    .replace(/[\u00A0\u1680\u2000-\u200B\u202F\u205F\u3000]/g, ' ')
    .replace(/\u00AD|\u034F|\u1806|[\u180B-\u180D]|\u200C|\u200D|\u2060|[\uFE00-\uFE0F]|\uFEFF/g, '')
    .normalize('NFKC');
}

/** Who creates a role may grant it, which is not yet to act as it. */
async function mayActAsOwner(admin: pg.Client): Promise<boolean> {
  const may = await admin.query('set role ironflow_owner').then(
    () => true,
    () => false,
  );
  await admin.query('reset role');
  return may;
}

const attemptsMax = 10;

/** Another database of the server is being set up at the same moment: PostgreSQL refuses one of the two. */
async function atOnce(work: () => Promise<unknown>): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await work();
      return;
    } catch (error) {
      const code = codeOf(error);
      // Already there: duplicate_object, or a unique violation in the catalogue when both were in flight.
      if (code === '42710' || code === '23505') return;
      // "Tuple concurrently updated", in whatever language, has no code of its own.
      if (code !== 'XX000' || attempt === attemptsMax) throw error;
    }
  }
}
