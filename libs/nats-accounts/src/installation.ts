/**
 * What an installation in operator mode begins with: an operator, the system's account and the platform's, each with a signing key
 * beside its own, so that the three keys themselves can be taken offline.
 */
import { encodeAccount, encodeOperator } from '@nats-io/jwt';
import type { Account } from '@nats-io/jwt';
import { createAccount, createOperator } from '@nats-io/nkeys';
import type { KeyPair } from '@nats-io/nkeys';
import type { AccountsFile } from './accounts-file.js';
import { platformClaims } from './platform-account.js';
import { createCredentials } from './user-credentials.js';

/** What a server is configured with beside its addresses and its store; nothing in it is a secret. */
export interface OperatorServerConfig {
  operator: string;
  system_account: string;
  /** `dir` is where the server keeps the accounts that it is told of. */
  resolver: { type: 'full'; dir: string; allow_delete: boolean; interval: string };
  /** These two accounts are there even if that folder is lost. */
  resolver_preload: Record<string, string>;
}

export interface Installation {
  server: OperatorServerConfig;
  /** Creds files. `platform`: services; `system`: people who look after the servers. */
  credentials: { platform: string; system: string };
  accounts: AccountsFile;
  /** To be kept offline: new signing keys can be made with them. */
  identitySeeds: { operator: string; systemAccount: string; platformAccount: string };
}

export async function createInstallation(options: {
  name: string;
  accountsFolder: string;
}): Promise<Installation> {
  const [operator, operatorSigner] = [createOperator(), createOperator()];
  const [system, platform, platformSigner] = [createAccount(), createAccount(), createAccount()];
  const signer = { signer: operatorSigner };
  const operatorToken = await encodeOperator(options.name, operator, {
    system_account: system.getPublicKey(),
    signing_keys: [operatorSigner.getPublicKey()],
  });
  const systemToken = await encodeAccount('SYS', system, systemClaims, signer);
  const platformToken = await encodeAccount(
    ...(['PLATFORM', platform, platformClaims(platformSigner.getPublicKey()), signer] as const),
  );
  const pusher = await createCredentials(system, {
    name: 'ironflow-accounts',
    permissions: pusherPermissions,
  });
  return {
    server: {
      operator: operatorToken,
      system_account: system.getPublicKey(),
      // A server that was away still lets in whom others were told to revoke, until it has asked one of them.
      resolver: { type: 'full', dir: options.accountsFolder, allow_delete: false, interval: '5s' },
      resolver_preload: {
        [system.getPublicKey()]: systemToken,
        [platform.getPublicKey()]: platformToken,
      },
    },
    credentials: {
      platform: (await createCredentials(platform, { name: 'ironflow' })).text,
      system: (await createCredentials(system, { name: 'operator' })).text,
    },
    accounts: {
      operatorSigningSeed: seedOf(operatorSigner),
      platformAccount: platform.getPublicKey(),
      platformSigningSeed: seedOf(platformSigner),
      systemCredentials: pusher.text,
    },
    identitySeeds: {
      operator: seedOf(operator),
      systemAccount: seedOf(system),
      platformAccount: seedOf(platform),
    },
  };
}

const systemClaims = {
  limits: { conn: -1, subs: -1, data: -1, payload: -1, leaf: 0, wildcards: true },
} as Account;

/** Tells servers of accounts, asks for them, and hears which they miss; the rest of the system is not its affair. */
const pusherPermissions = {
  pub: { allow: ['$SYS.REQ.CLAIMS.UPDATE', '$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP'] },
  sub: { allow: ['$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP', '_INBOX.>'] },
};

function seedOf(keys: KeyPair): string {
  return new TextDecoder().decode(keys.getSeed());
}
