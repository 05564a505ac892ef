/** Who is calling over HTTP, and whether the key may do this: for every service whose routes take API keys. */
import { parseOperatorKey } from '@ironflow/database';
import type { Authenticator, Principal } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import { roleAllows, scopesAllow } from '@ironflow/schema';
import type { NeededAccess } from '@ironflow/schema';
import type { FastifyRequest } from 'fastify';

declare module 'fastify' {
  interface FastifyRequest {
    /** Decorated as null by whoever adds routes that take keys. */
    principal: Principal | null;
  }
}

/** For `onRequest`, before the body is read: nobody without a key makes us parse megabytes. */
export function authenticate(
  authenticator: Authenticator,
  needed: NeededAccess,
): (request: FastifyRequest) => Promise<void> {
  return async (request) => {
    // Known also where it is refused: the audit log says whose key it was.
    request.principal = await findPrincipal(authenticator, request.headers.authorization);
    requireAccess(request.principal, needed);
  };
}

/** Of a route behind `authenticate`. */
export function principalOf(request: FastifyRequest): Principal {
  if (request.principal === null) throw new Error('a route was reached without authentication');
  return request.principal;
}

/** Rejects with `api_key_invalid`, `environment_archived`, `role_insufficient` or `scope_missing`. */
export async function requirePrincipal(
  authenticator: Authenticator,
  authorization: string | undefined,
  needed: NeededAccess,
): Promise<Principal> {
  const principal = await findPrincipal(authenticator, authorization);
  requireAccess(principal, needed);
  return principal;
}

async function findPrincipal(
  authenticator: Authenticator,
  authorization: string | undefined,
): Promise<Principal> {
  const key = bearerOf(authorization);
  if (key !== undefined && parseOperatorKey(key).ok) {
    const rule = 'an operator key manages tenants and reaches nothing in them: this takes an API key of one';
    throw new IronflowError('forbidden', 'role_insufficient', rule);
  }
  const principal = key === undefined ? undefined : await authenticator.authenticate(key);
  if (principal === undefined) {
    const rule = 'send a valid API key as "Authorization: Bearer ifk_…"';
    throw new IronflowError('unauthenticated', 'api_key_invalid', rule);
  }
  return principal;
}

function requireAccess(principal: Principal, needed: NeededAccess): void {
  if (principal.archived) {
    const rule = 'the environment of this key is archived: an operator can restore it';
    throw new IronflowError('forbidden', 'environment_archived', rule);
  }
  if (!roleAllows(principal.role, needed.role)) {
    const rule = `a key of role ${principal.role} may not do this: it takes at least ${needed.role}`;
    throw new IronflowError('forbidden', 'role_insufficient', rule);
  }
  if (!scopesAllow(principal.scopes, needed.scope)) {
    const rule = `this key is narrowed to ${principal.scopes.join(', ')}: this takes ${needed.scope}`;
    throw new IronflowError('forbidden', 'scope_missing', rule);
  }
}

/** Of an `Authorization` header; `undefined` when it is none of that form. */
export function bearerOf(authorization: string | undefined): string | undefined {
  return /^Bearer +(\S+) *$/i.exec(authorization ?? '')?.[1];
}
