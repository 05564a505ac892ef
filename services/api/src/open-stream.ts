/** What every stream of server-sent events begins with, and is asked of again as it goes on. */
import type { ServerResponse } from 'node:http';
import type { Authenticator } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import type { NeededAccess } from '@ironflow/schema';
import { requirePrincipal } from '@ironflow/service';
import type { FastifyReply, FastifyRequest } from 'fastify';

const streamHeaders = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-store',
  // Proxies that buffer would hold the events back.
  'x-accel-buffering': 'no',
};

/** From then on the answer is the caller's. */
export function openStream(request: FastifyRequest, reply: FastifyReply): ServerResponse {
  reply.hijack();
  return reply.raw.writeHead(200, { ...streamHeaders, 'x-request-id': request.id });
}

/** Whether the key may still; as long as that cannot be asked it may. */
export async function isStillAllowed(
  authenticator: Authenticator,
  request: FastifyRequest,
  needed: NeededAccess,
): Promise<boolean> {
  try {
    await requirePrincipal(authenticator, request.headers.authorization, needed);
    return true;
  } catch (error) {
    if (error instanceof IronflowError && error.category === 'unavailable') return true;
    return false;
  }
}
