/** What a key may do: its role bounds it, and its scopes, if it has any, narrow that further. */
import { z } from 'zod';

/** Each may do what those before it may. */
export const keyRoles = ['viewer', 'developer', 'admin'] as const;
export type KeyRole = (typeof keyRoles)[number];

/** One of what a key can be narrowed to; each route needs one, and a worker needs `workers:connect`. */
export const keyScopes = [
  'apps:read',
  'apps:write',
  'audit:read',
  'breakers:read',
  'breakers:write',
  'config:read',
  'config:write',
  'credentials:read',
  'credentials:write',
  'dead-letters:read',
  'dead-letters:write',
  'environment:read',
  'environment:write',
  'events:read',
  'events:write',
  'export:read',
  'functions:read',
  'functions:write',
  'keys:read',
  'keys:write',
  'kv:read',
  'kv:write',
  'quotas:read',
  'runs:read',
  'runs:write',
  'schedules:read',
  'schedules:write',
  'secrets:read',
  'secrets:write',
  'topics:read',
  'topics:write',
  'webhooks:read',
  'webhooks:write',
  'workers:connect',
] as const;
export const keyScopeSchema = z.enum(keyScopes);
export type KeyScope = z.infer<typeof keyScopeSchema>;

/** What a key may do. */
export interface KeyGrant {
  role: KeyRole;
  /** Empty: all that the role allows. */
  scopes: readonly string[];
}

/** What something asks of a key. */
export interface NeededAccess {
  role: KeyRole;
  /** Absent: any key of the role may. */
  scope?: KeyScope;
}

/** Whether a key of role `held` may do what needs `needed`. */
export function roleAllows(held: KeyRole, needed: KeyRole): boolean {
  return keyRoles.indexOf(held) >= keyRoles.indexOf(needed);
}

/** Whether a key of these scopes may do what needs `needed`; one without scopes may all that its role allows. */
export function scopesAllow(held: readonly string[], needed: KeyScope | undefined): boolean {
  return held.length === 0 || needed === undefined || held.includes(needed);
}

/** Whether a key may make one that may do `wanted`: nobody gives more than they have. */
export function mayGrant(held: KeyGrant, wanted: KeyGrant): boolean {
  if (!roleAllows(held.role, wanted.role)) return false;
  if (held.scopes.length === 0) return true;
  return wanted.scopes.length > 0 && wanted.scopes.every((scope) => held.scopes.includes(scope));
}
