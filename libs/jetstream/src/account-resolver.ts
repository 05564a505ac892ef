/**
 * Tells NATS servers in operator mode of accounts, and hears which one they miss. A connection of its own, as it is one of the
 * system's account.
 */
import { IronflowError } from '@ironflow/errors';
import { connectNats } from './connection.js';
import type { ConnectionOptions } from './connection.js';

export interface AccountResolver {
  /**
   * An account's claims: from then on they are what the servers hold it to, and users that they revoke are cut off. Rejects with
   * `accounts_unavailable` when no server says that it has them.
   */
  push(token: string): Promise<void>;
  /** Told the public key of an account for which somebody has credentials and no server has claims. */
  onMissing(listener: (publicKey: string) => void): void;
  /** The servers may have come back empty. */
  onReconnect(listener: () => void): () => void;
  /** Never rejects. */
  close(): Promise<void>;
}

export type AccountResolverOptions = Pick<
  ConnectionOptions,
  'url' | 'name' | 'tls' | 'creds' | 'requestTimeoutMs' | 'log'
>;

const updateSubject = '$SYS.REQ.CLAIMS.UPDATE';
const lookupSubject = '$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP';

interface UpdateAnswer {
  data?: { code?: number; message?: string };
  error?: { code?: number; description?: string };
}

export async function connectAccountResolver(options: AccountResolverOptions): Promise<AccountResolver> {
  const connection = await connectNats(options);
  return {
    push: async (token) => {
      const reply = await connection.request({ subject: updateSubject, data: token });
      if (reply.kind !== 'message') throw unavailable(`the servers gave no answer (${reply.kind})`);
      const { data, error } = JSON.parse(new TextDecoder().decode(reply.data)) as UpdateAnswer;
      if (data?.code !== 200) throw unavailable(error?.description ?? 'the servers refused them');
    },
    onMissing: (listener) => {
      connection.listen(lookupSubject, ({ subject }) => listener(subject.split('.')[3]!));
    },
    onReconnect: (listener) => connection.onReconnect(listener),
    close: () => connection.close(),
  };
}

function unavailable(why: string): IronflowError {
  return new IronflowError('unavailable', 'accounts_unavailable', `accounts cannot be told to NATS: ${why}`);
}
