/** One route of the table, served. */
import type { Authenticator } from '@ironflow/database';
import type { Route } from '@ironflow/schema';
import { authenticate, enterRoute } from '@ironflow/service';
import type { HttpApp } from '@ironflow/service';
import type { FastifyReply, FastifyRequest, RouteHandlerMethod } from 'fastify';
import type { z } from 'zod';

type Parsed<Schema> = Schema extends z.ZodType ? z.output<Schema> : unknown;
type RequestOf<Served extends Route> = FastifyRequest<{
  Params: Parsed<Served['params']>;
  Querystring: Parsed<Served['query']>;
  Body: Parsed<Served['body']>;
}>;

/** The only way in: role, query, parameters and body are those of the table, and so is what the audit log calls it. */
export function serve<const Served extends Route>(
  app: HttpApp,
  { authenticator }: { authenticator: Authenticator },
  served: Served,
  handle: (request: RequestOf<Served>, reply: FastifyReply) => unknown,
): void {
  const { method, path, role, scope, params, query, body }: Route = served;
  app.route({
    method,
    url: path,
    schema: {
      ...(params === undefined ? {} : { params }),
      ...(query === undefined ? {} : { querystring: query }),
      ...(body === undefined ? {} : { body }),
    },
    onRequest: [
      enterRoute(served),
      ...(role === 'none' ? [] : [authenticate(authenticator, { role, scope })]),
    ],
    // The schemas above are what makes the request one of this route.
    handler: handle as RouteHandlerMethod,
  });
}
