/** Who is calling, and whether the key may do this. */
import type { Authenticator, Principal } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import { roleAllows } from '@ironflow/schema';
import type { KeyRole } from '@ironflow/schema';

export async function requirePrincipal(
  authenticator: Authenticator,
  authorization: string | undefined,
  needed: KeyRole,
): Promise<Principal> {
  const key = /^Bearer +(\S+) *$/i.exec(authorization ?? '')?.[1];
  const principal = key === undefined ? undefined : await authenticator.authenticate(key);
  if (principal === undefined) {
    const rule = 'send a valid API key as "Authorization: Bearer ifk_…"';
    throw new IronflowError('unauthenticated', 'api_key_invalid', rule);
  }
  if (!roleAllows(principal.role, needed)) {
    const rule = `a key of role ${principal.role} may not do this: it takes at least ${needed}`;
    throw new IronflowError('forbidden', 'role_insufficient', rule);
  }
  return principal;
}
