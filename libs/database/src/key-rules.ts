/** What may be done with the API keys of an environment, as they are at one moment. Pure. */
import { mayGrant, scopesAllow } from '@ironflow/schema';
import type { KeyGrant, KeyRole } from '@ironflow/schema';

export interface KeyState extends KeyGrant {
  id: string;
  role: KeyRole;
  scopes: string[];
  /** Neither revoked nor expired. */
  live: boolean;
  /** There is another in its place: it ends with its overlap. */
  replaced: boolean;
}

export type RotationRefusal = 'not_found' | 'ended' | 'exceeds';

/** Whoever replaces a key gets one that may do the same: it has to be within what they may do themselves. */
export function refusalOfRotation(
  keys: readonly KeyState[],
  id: string,
  by: KeyGrant,
): RotationRefusal | undefined {
  const key = keys.find((candidate) => candidate.id === id);
  if (key === undefined) return 'not_found';
  if (!key.live) return 'ended';
  return mayGrant(by, key) ? undefined : 'exceeds';
}

/** The last key by which keys can be made stays: without it nobody within the environment could let anybody in again. */
export function refusalOfRevocation(
  keys: readonly KeyState[],
  id: string,
): 'not_found' | 'last_admin' | undefined {
  const key = keys.find((candidate) => candidate.id === id);
  if (key === undefined) return 'not_found';
  const stays = keys.some((other) => other.id !== id && makesKeys(other));
  return makesKeys(key) && !stays ? 'last_admin' : undefined;
}

/** For good: one that was replaced is about to end. */
function makesKeys({ role, scopes, live, replaced }: KeyState): boolean {
  return role === 'admin' && scopesAllow(scopes, 'keys:write') && live && !replaced;
}
