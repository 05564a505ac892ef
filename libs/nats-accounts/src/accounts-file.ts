/** The file of NATS_ACCOUNTS_FILE: what the api service signs accounts with, and the login by which servers learn of them. */
import { fromSeed } from '@nats-io/nkeys';
import type { KeyPair } from '@nats-io/nkeys';
import { IronflowError } from '@ironflow/errors';
import { z } from 'zod';

const seed = z.string().regex(/^S[OA][A-Z2-7]{56}$/, 'must be a seed of NATS');

export const accountsFileSchema = z.object({
  /** Signs accounts; one of the operator's signing keys, never its own. */
  operatorSigningSeed: seed,
  /** The platform's account, by its public key. */
  platformAccount: z.string().regex(/^A[A-Z2-7]{55}$/, 'must be the public key of an account'),
  /** Signs activation tokens. */
  platformSigningSeed: seed,
  /** A user of the system account: a creds file as text. */
  systemCredentials: z.string().min(1),
});
export type AccountsFile = z.infer<typeof accountsFileSchema>;

export interface AccountSigners {
  operator: KeyPair;
  platformAccount: string;
  platform: KeyPair;
}

/** Throws `config_invalid`; of what is in the file nothing is told. */
export function parseAccountsFile(text: string): { signers: AccountSigners; systemCredentials: string } {
  const parsed = accountsFileSchema.safeParse(parseJson(text));
  if (!parsed.success) {
    const { path, message } = parsed.error.issues[0]!;
    throw invalid(`${path.join('.') || 'it'} ${path.length === 0 ? 'must be a JSON object' : message}`);
  }
  const { operatorSigningSeed, platformAccount, platformSigningSeed, systemCredentials } = parsed.data;
  const signers = {
    operator: keysOf(operatorSigningSeed),
    platformAccount,
    platform: keysOf(platformSigningSeed),
  };
  return { signers, systemCredentials };
}

function keysOf(text: string): KeyPair {
  try {
    return fromSeed(new TextEncoder().encode(text));
  } catch {
    throw invalid('a seed is damaged');
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function invalid(rule: string): IronflowError {
  const message = `bad configuration: NATS_ACCOUNTS_FILE: ${rule}; \`ironflow nats init\` makes one`;
  return new IronflowError('invalid', 'config_invalid', message);
}
