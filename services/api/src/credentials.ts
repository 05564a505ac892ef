/** Credentials for NATS, managed. What a user connects with is in no answer but the one that makes it. */
import type { Authenticator, NatsAccountStore } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import { routes, subjects } from '@ironflow/schema';
import { principalOf } from '@ironflow/service';
import type { HttpApp } from '@ironflow/service';
import { directNatsUnavailable } from './direct-nats.js';
import type { DirectNats } from './direct-nats.js';
import { serve } from './serve-route.js';

export interface CredentialsOptions {
  authenticator: Authenticator;
  natsAccounts: NatsAccountStore;
  /** Absent where tenants have no direct access to NATS. */
  directNats: Omit<DirectNats, 'start' | 'stop'> | undefined;
}

export function addCredentials(app: HttpApp, options: CredentialsOptions): void {
  const { natsAccounts, directNats } = options;
  serve(app, options, routes.createCredential, async (request, reply) => {
    const { scope } = principalOf(request);
    if (directNats === undefined) throw directNatsUnavailable();
    const { credential, text } = await directNats.create(scope, request.body);
    const created = { ...credential, credentials: text, subject: subjects.ingestOf(scope) };
    return reply.code(201).header('cache-control', 'no-store').send(created);
  });
  serve(app, options, routes.listCredentials, async (request) => ({
    credentials: await natsAccounts.list(principalOf(request).scope.environmentId),
  }));
  serve(app, options, routes.revokeCredential, async (request) => {
    const { scope } = principalOf(request);
    const { id } = request.params;
    const known = await natsAccounts.list(scope.environmentId);
    if (!known.some((credential) => credential.id === id)) throw credentialNotFound();
    if (directNats === undefined) throw directNatsUnavailable();
    const revoked = await directNats.revoke(scope, id);
    if (revoked === undefined) throw credentialNotFound();
    return revoked;
  });
}

function credentialNotFound(): IronflowError {
  const message = 'there are no credentials of that id in this environment, or they have expired';
  return new IronflowError('not_found', 'credential_not_found', message);
}
