/** Secrets of an environment. A value is in no answer but that of `readSecrets`, in no line of the log and in no error. */
import type { Authenticator, SecretStore } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import { routes } from '@ironflow/schema';
import { principalOf } from '@ironflow/service';
import type { HttpApp } from '@ironflow/service';
import type { FastifyRequest } from 'fastify';
import { serve } from './serve-route.js';

export interface SecretsOptions {
  authenticator: Authenticator;
  secretStore: SecretStore;
}

export function addSecrets(app: HttpApp, options: SecretsOptions): void {
  const { secretStore } = options;
  serve(app, options, routes.setSecret, (request) =>
    secretStore.set(environmentOf(request), { name: request.params.name, value: request.body.value }),
  );
  serve(app, options, routes.listSecrets, async (request) => ({
    secrets: await secretStore.list(environmentOf(request)),
  }));
  serve(app, options, routes.getSecret, async (request) => {
    const secret = await secretStore.get(environmentOf(request), request.params.name);
    if (secret === undefined) throw secretNotFound();
    return secret;
  });
  serve(app, options, routes.deleteSecret, async (request) => {
    const { name } = request.params;
    if (!(await secretStore.delete(environmentOf(request), name))) throw secretNotFound();
    return { name };
  });
  serve(app, options, routes.readSecrets, async (request, reply) => {
    const secrets = await secretStore.values(environmentOf(request), request.body.names);
    return reply.header('cache-control', 'no-store').send({ secrets });
  });
  serve(app, options, routes.rotateDataKey, (request) => secretStore.rotateDataKey(environmentOf(request)));
}

function environmentOf(request: FastifyRequest): string {
  return principalOf(request).scope.environmentId;
}

function secretNotFound(): IronflowError {
  const message = 'there is no secret of that name in this environment';
  return new IronflowError('not_found', 'secret_not_found', message);
}
