/**
 * Who manages tenants: whoever sends a key of an operator, the one of the configuration or one that was made with it. An API key
 * of an environment, whatever its role, does not.
 */
import { timingSafeEqual } from 'node:crypto';
import { hashOperatorKey, parseOperatorKey } from '@ironflow/database';
import type { Authenticator, OperatorKeyStore, Secrets } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import { bearerOf } from '@ironflow/service';
import type { FastifyRequest } from 'fastify';

export interface Operator {
  /** Absent: the one of the configuration. */
  keyId?: string;
  name: string;
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Decorated as null by whoever adds routes of operators. */
    operator: Operator | null;
  }
}

export interface OperatorAccessOptions {
  operatorKeys: Pick<OperatorKeyStore, 'authenticate'>;
  authenticator: Authenticator;
  secrets: Pick<Secrets, 'apiKeyPepper'>;
  /** The first one, with which the others are made. */
  configuredKey?: string | undefined;
}

/** Rejects with `operator_key_invalid`, or `role_insufficient` for an API key. */
export type OperatorAccess = (authorization: string | undefined) => Promise<Operator>;

export function createOperatorAccess(options: OperatorAccessOptions): OperatorAccess {
  const { operatorKeys, authenticator, secrets, configuredKey } = options;
  const hashOf = (key: string): Buffer => hashOperatorKey(key, secrets.apiKeyPepper);
  const configured = configuredKey === undefined ? undefined : hashOf(configuredKey);
  return async (authorization) => {
    const key = bearerOf(authorization) ?? '';
    if (parseOperatorKey(key).ok) {
      if (configured !== undefined && timingSafeEqual(configured, hashOf(key))) return { name: 'configured' };
      const found = await operatorKeys.authenticate(key);
      if (found !== undefined) return { keyId: found.id, name: found.name };
    } else if ((await authenticator.authenticate(key)) !== undefined) {
      const rule = 'a key of an environment may not do this: it takes one of an operator';
      throw new IronflowError('forbidden', 'role_insufficient', rule);
    }
    const rule = 'send a valid key of an operator as "Authorization: Bearer ifo_…"';
    throw new IronflowError('unauthenticated', 'operator_key_invalid', rule);
  };
}

/** Of a route behind that. */
export function operatorOf(request: FastifyRequest): Operator {
  if (request.operator === null) throw new Error('a route was reached without authentication');
  return request.operator;
}
