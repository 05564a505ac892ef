/**
 * API keys and signing keys of the key's own environment. A key is in no answer but the one that makes it, and whoever changes keys
 * tells every service, so that nobody goes on under one that is revoked.
 */
import type {
  ApiKeyStore,
  RememberingAuthenticator,
  RotationRefusal,
  SigningKeyStore,
} from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import type { Notices } from '@ironflow/jetstream';
import { mayGrant, routes } from '@ironflow/schema';
import { principalOf } from '@ironflow/service';
import type { HttpApp } from '@ironflow/service';
import type { FastifyRequest } from 'fastify';
import { serve } from './serve-route.js';

export interface KeysOptions {
  authenticator: RememberingAuthenticator;
  apiKeys: ApiKeyStore;
  signingKeys: SigningKeyStore;
  notices: Pick<Notices, 'publishAccess'>;
}

export function addKeys(app: HttpApp, options: KeysOptions): void {
  const { apiKeys } = options;
  const changed = (environmentId: string): void => {
    // Heard by this process too, though later than its answer is.
    options.authenticator.forget(environmentId);
    options.notices.publishAccess({ environmentId });
  };
  serve(app, options, routes.listKeys, async (request) => ({
    keys: await apiKeys.list(environmentOf(request)),
  }));
  serve(app, options, routes.createKey, async (request, reply) => {
    if (!mayGrant(principalOf(request), request.body)) throw grantExceedsKey();
    const created = await apiKeys.create(environmentOf(request), request.body);
    return reply.code(201).header('cache-control', 'no-store').send(created);
  });
  serve(app, options, routes.rotateKey, async (request, reply) => {
    const environmentId = environmentOf(request);
    const rotation = { ...request.body, id: request.params.id, by: principalOf(request) };
    const outcome = await apiKeys.rotate(environmentId, rotation);
    if (outcome.kind !== 'rotated') throw rotationRefusals[outcome.kind]();
    changed(environmentId);
    return reply.code(201).header('cache-control', 'no-store').send(outcome.key);
  });
  serve(app, options, routes.revokeKey, async (request) => {
    const environmentId = environmentOf(request);
    const outcome = await apiKeys.revoke(environmentId, request.params.id);
    if (outcome.kind === 'not_found') throw keyNotFound();
    if (outcome.kind === 'last_admin') {
      const rule = 'it is the last key that can make others: make one first';
      throw new IronflowError('conflict', 'last_admin_key', rule);
    }
    changed(environmentId);
    return outcome.key;
  });
  addSigningKeys(app, options, changed);
}

function addSigningKeys(
  app: HttpApp,
  { signingKeys, ...options }: KeysOptions,
  changed: (environmentId: string) => void,
): void {
  serve(app, options, routes.listSigningKeys, async (request) => ({
    signingKeys: await signingKeys.list(environmentOf(request)),
  }));
  serve(app, options, routes.rotateSigningKey, async (request, reply) => {
    const environmentId = environmentOf(request);
    const rotated = await signingKeys.rotate(environmentId, request.body.overlapSeconds);
    changed(environmentId);
    return reply.code(201).header('cache-control', 'no-store').send(rotated);
  });
}

const rotationRefusals: Record<RotationRefusal, () => IronflowError> = {
  not_found: keyNotFound,
  exceeds: grantExceedsKey,
  ended: () => new IronflowError('conflict', 'key_ended', 'the key has expired or is revoked: make another'),
};

function environmentOf(request: FastifyRequest): string {
  return principalOf(request).scope.environmentId;
}

function keyNotFound(): IronflowError {
  return new IronflowError('not_found', 'key_not_found', 'there is no key of that id in this environment');
}

function grantExceedsKey(): IronflowError {
  const rule = 'a key gives no more than it has: neither a higher role nor scopes beyond its own';
  return new IronflowError('forbidden', 'grant_exceeds_key', rule);
}
