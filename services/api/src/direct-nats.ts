/**
 * Accounts and credentials for NATS: signs them, and sees that the servers know of them. What they do not know, because they were
 * wiped or somebody else's change was lost, they are told again: as the api starts, when a server comes back, and when one misses an
 * account. Nobody depends on the passes to revoke: that tells the servers itself.
 */
import { findNatsAccount, listNatsAccounts, retellNatsAccount } from '@ironflow/database';
import type { Database, NatsAccount, NatsAccountStore } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import type { AccountResolver } from '@ironflow/jetstream';
import { createAccountKeys, createUserCredentials, encodeTenantAccount } from '@ironflow/nats-accounts';
import type { AccountSigners } from '@ironflow/nats-accounts';
import type { CreateCredentialBody, Credential, Scope } from '@ironflow/schema';
import type { Clock, Logger, Stoppable, TimerHandle } from '@ironflow/service';

export interface DirectNats extends Stoppable {
  start(): void;
  create(scope: Scope, body: CreateCredentialBody): Promise<{ credential: Credential; text: string }>;
  revoke(scope: Scope, id: string): Promise<Credential | undefined>;
  /** The environment was archived, which cuts its users off, or restored. Not told in vain: what fails is tried again. */
  retell(scope: Scope): void;
}

export interface DirectNatsOptions {
  accounts: NatsAccountStore;
  resolver: AccountResolver;
  signers: AccountSigners;
  /** As ironflow_service: it looks for accounts of every environment. */
  database: Database;
  logger: Logger;
  clock: Clock;
}

/** After a pass that failed. */
const retryMs = 1_000;
/**
 * Servers that differ go by the second in which an account was signed. Told once more in a later one, one that was away while an account
 * changed twice in a second, by different servers, takes what is true when it returns.
 */
const tellAgainMs = 1_000;
/** Whoever makes up accounts to look for gets no further. */
const lookupsMax = 16;

export function createDirectNats(options: DirectNatsOptions): DirectNats {
  const { accounts, resolver, signers, database, logger, clock } = options;
  const lookups = new Map<string, Promise<void>>();
  let passing: Promise<void> | undefined;
  let isWantedAgain = false;
  const underWay = new Set<Promise<void>>();
  const secondTelling = createSecondTelling(clock, (scope) => void retell(scope));
  let timer: TimerHandle | undefined;
  let isStopped = false;
  let stopListening: (() => void) | undefined;

  async function tellServers({ scope: place, publicKey, revokedUsers }: NatsAccount): Promise<void> {
    await resolver.push(await encodeTenantAccount({ place, publicKey, revokedUsers }, signers));
  }

  async function tellAll(): Promise<void> {
    for (const scope of await listNatsAccounts(database)) {
      if (isStopped) return;
      await retellNatsAccount(database, scope, tellServers);
    }
  }

  function pass(): void {
    if (isStopped) return;
    timer?.cancel();
    isWantedAgain = passing !== undefined;
    passing ??= tellAll()
      .catch((error: unknown) => {
        logger.warn({ err: error }, 'accounts could not be told to NATS; the next pass will');
        timer = clock.setTimeout(pass, retryMs);
      })
      .finally(() => {
        passing = undefined;
        if (isWantedAgain) pass();
      });
  }

  function retell(scope: Scope): Promise<void> {
    const telling = retellNatsAccount(database, scope, tellServers)
      .catch((error: unknown) => {
        logger.warn({ err: error }, 'an account could not be told to NATS; the next pass will');
        pass();
      })
      .finally(() => underWay.delete(telling));
    underWay.add(telling);
    return telling;
  }

  async function tell(publicKey: string): Promise<void> {
    const scope = await findNatsAccount(database, publicKey);
    if (scope !== undefined) await retellNatsAccount(database, scope, tellServers);
  }

  function onMissing(publicKey: string): void {
    if (lookups.has(publicKey) || lookups.size >= lookupsMax || isStopped) return;
    const lookup = tell(publicKey)
      .catch((error: unknown) => logger.warn({ err: error }, 'an account that NATS misses could not be told'))
      .finally(() => lookups.delete(publicKey));
    lookups.set(publicKey, lookup);
  }

  return {
    start: () => {
      resolver.onMissing(onMissing);
      stopListening = resolver.onReconnect(pass);
      pass();
    },
    create: (scope, body) =>
      accounts.create(scope, {
        ...body,
        makeAccount: createAccountKeys,
        makeUser: ({ accountSeed, ...user }) => createUserCredentials(accountSeed, user),
        tellServers,
      }),
    revoke: async (scope, id) => {
      const revoked = await accounts.revoke(scope, id, tellServers);
      if (revoked !== undefined && !isStopped) secondTelling.expect(scope);
      return revoked;
    },
    // A second counts from when it was signed.
    retell: (scope) => void retell(scope).then(() => !isStopped && secondTelling.expect(scope)),
    stop: async () => {
      isStopped = true;
      stopListening?.();
      timer?.cancel();
      secondTelling.cancel();
      await Promise.all([passing, ...lookups.values(), ...underWay]);
      await resolver.close();
    },
  };
}

/** Of each environment that was expected, once, a second after the last time. */
function createSecondTelling(clock: Clock, tell: (scope: Scope) => void) {
  const timers = new Map<string, TimerHandle>();
  return {
    expect: (scope: Scope): void => {
      timers.get(scope.environmentId)?.cancel();
      const timer = clock.setTimeout(() => {
        timers.delete(scope.environmentId);
        tell(scope);
      }, tellAgainMs);
      timers.set(scope.environmentId, timer);
    },
    cancel: (): void => {
      for (const timer of timers.values()) timer.cancel();
    },
  };
}

export function directNatsUnavailable(): IronflowError {
  const message =
    'this installation gives no direct access to NATS: its servers are not in operator mode, or the api service has no NATS_ACCOUNTS_FILE';
  return new IronflowError('conflict', 'direct_nats_unavailable', message);
}
