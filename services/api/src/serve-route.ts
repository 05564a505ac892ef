/** One route of the table, served. */
import type { Authenticator } from '@ironflow/database';
import type { KeyRole, Route } from '@ironflow/schema';
import { authenticate, enterRoute } from '@ironflow/service';
import type { HttpApp } from '@ironflow/service';
import type { FastifyReply, FastifyRequest, RouteHandlerMethod } from 'fastify';
import type { z } from 'zod';
import type { OperatorAccess } from './operator-access.js';

type Parsed<Schema> = Schema extends z.ZodType ? z.output<Schema> : unknown;
type RequestOf<Served extends Route> = FastifyRequest<{
  Params: Parsed<Served['params']>;
  Querystring: Parsed<Served['query']>;
  Body: Parsed<Served['body']>;
}>;

type Handler<Served extends Route> = (request: RequestOf<Served>, reply: FastifyReply) => unknown;
type TenantRoute = Route & { role: KeyRole | 'none' };
type OperatorRoute = Route & { role: 'operator' };

/** The only way in: role, query, parameters and body are those of the table, and so is what the audit log calls it. */
export function serve<const Served extends TenantRoute>(
  app: HttpApp,
  { authenticator }: { authenticator: Authenticator },
  served: Served,
  handle: Handler<Served>,
): void {
  const { role, scope }: TenantRoute = served;
  const enter = role === 'none' ? [] : [authenticate(authenticator, { role, scope })];
  register(app, served, enter, handle as RouteHandlerMethod);
}

/** The same for routes of operators. */
export function serveOperators<const Served extends OperatorRoute>(
  app: HttpApp,
  { operatorAccess }: { operatorAccess: OperatorAccess },
  served: Served,
  handle: Handler<Served>,
): void {
  const onRequest = async (request: FastifyRequest): Promise<void> => {
    request.operator = await operatorAccess(request.headers.authorization);
  };
  register(app, served, [onRequest], handle as RouteHandlerMethod);
}

function register(
  app: HttpApp,
  route: Route,
  enter: ((request: FastifyRequest) => Promise<void>)[],
  // The schemas make the request one of this route.
  handler: RouteHandlerMethod,
): void {
  const { method, path, params, query, body } = route;
  app.route({
    method,
    url: path,
    schema: {
      ...(params === undefined ? {} : { params }),
      ...(query === undefined ? {} : { querystring: query }),
      ...(body === undefined ? {} : { body }),
    },
    onRequest: [enterRoute(route), ...enter],
    handler,
  });
}
