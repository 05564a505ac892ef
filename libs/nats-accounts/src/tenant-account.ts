/**
 * The account of one environment: it imports the door for its own events and nothing else of the platform. What its users publish
 * elsewhere, reply subjects included, stays within it.
 */
import { encodeAccount, encodeActivation } from '@nats-io/jwt';
import type { Account, Permissions } from '@nats-io/jwt';
import { createAccount, fromPublic } from '@nats-io/nkeys';
import { subjects } from '@ironflow/schema';
import type { Scope } from '@ironflow/schema';
import { tenantLimits } from './account-limits.js';
import type { AccountSigners } from './accounts-file.js';
import { ingestExportName } from './platform-account.js';

export type Place = Pick<Scope, 'project' | 'env'>;

/** The identity of an account: its seed signs the account's users. */
export interface AccountKeys {
  publicKey: string;
  seed: string;
}

export interface TenantAccount {
  place: Place;
  publicKey: string;
  /** Public keys of users that are to be cut off, and are not let in again. */
  revokedUsers: readonly string[];
}

/** Every key has one token, which is never issued again: whenever it was issued, it is revoked. In seconds since 1970. */
const wheneverIssued = 253_402_300_799;

export function createAccountKeys(): AccountKeys {
  const keys = createAccount();
  return { publicKey: keys.getPublicKey(), seed: new TextDecoder().decode(keys.getSeed()) };
}

/** The account's claims as a server takes them. */
export async function encodeTenantAccount(
  { place, publicKey, revokedUsers }: TenantAccount,
  signers: AccountSigners,
): Promise<string> {
  const account = fromPublic(publicKey);
  const subject = subjects.directIngestOf(place);
  const token = await encodeActivation(
    ingestExportName,
    account,
    fromPublic(signers.platformAccount),
    'service',
    { subject, kind: 'service', import_subject: subject } as Parameters<typeof encodeActivation>[4],
    { signer: signers.platform },
  );
  const claims: Partial<Account> = {
    limits: tenantLimits,
    imports: [
      {
        name: ingestExportName,
        subject,
        local_subject: subjects.ingestOf(place),
        account: signers.platformAccount,
        type: 'service',
        token,
      },
    ],
    default_permissions: tenantPermissions(place),
    revocations: Object.fromEntries(revokedUsers.map((user) => [user, wheneverIssued])),
  };
  const name = `${place.project}.${place.env}`;
  return encodeAccount(name, account, claims, { signer: signers.operator });
}

/** The account is no message bus of its own: its users emit, and hear what they are answered. */
function tenantPermissions(place: Place): Permissions {
  return { pub: { allow: [subjects.ingestOf(place)] }, sub: { allow: ['_INBOX.>'] } };
}
