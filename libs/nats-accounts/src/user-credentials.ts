/** What a user connects with: a file that NATS clients call `.creds`, with a token and the seed that proves it. */
import { encodeUser, fmtCreds } from '@nats-io/jwt';
import type { Permissions } from '@nats-io/jwt';
import { createUser, fromSeed } from '@nats-io/nkeys';
import type { KeyPair } from '@nats-io/nkeys';

export interface UserOptions {
  /** Shows in the server's monitoring. */
  name: string;
  /** In milliseconds since 1970. */
  expiresAtMs?: number;
  /** Without, those of the account. */
  permissions?: Permissions;
}

export interface UserCredentials {
  publicKey: string;
  /** The file; a secret, as its end is the user's seed. */
  text: string;
}

/** `accountSeed`: of the account that the user belongs to. */
export function createUserCredentials(accountSeed: string, options: UserOptions): Promise<UserCredentials> {
  return createCredentials(fromSeed(new TextEncoder().encode(accountSeed)), options);
}

export async function createCredentials(
  account: KeyPair,
  { name, expiresAtMs, permissions = {} }: UserOptions,
): Promise<UserCredentials> {
  const user = createUser();
  // The server's clock has seconds: what is to last until a time does not end before it.
  const expiry = expiresAtMs === undefined ? {} : { exp: Math.ceil(expiresAtMs / 1_000) };
  const token = await encodeUser(
    name,
    user,
    account,
    { ...permissions, allowed_connection_types: ['STANDARD', 'WEBSOCKET'] },
    expiry,
  );
  return { publicKey: user.getPublicKey(), text: new TextDecoder().decode(fmtCreds(token, user)) };
}
