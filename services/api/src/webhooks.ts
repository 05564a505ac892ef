/** Sources of webhooks, managed; what is sent to them is ingest's. A secret is in no answer but the one that makes it. */
import type { Authenticator, WebhookStore } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import { routes } from '@ironflow/schema';
import { principalOf } from '@ironflow/service';
import type { HttpApp } from '@ironflow/service';
import type { FastifyRequest } from 'fastify';
import { serve } from './serve-route.js';

export interface WebhooksOptions {
  authenticator: Authenticator;
  webhooks: WebhookStore;
}

export function addWebhooks(app: HttpApp, options: WebhooksOptions): void {
  const { webhooks } = options;
  serve(app, options, routes.createWebhook, async (request, reply) => {
    const created = await webhooks.create(environmentOf(request), request.body);
    return reply.code(201).header('cache-control', 'no-store').send(created);
  });
  serve(app, options, routes.listWebhooks, async (request) => ({
    webhooks: await webhooks.list(environmentOf(request)),
  }));
  serve(app, options, routes.getWebhook, async (request) =>
    found(await webhooks.get(environmentOf(request), request.params.id)),
  );
  serve(app, options, routes.rotateWebhook, async (request, reply) => {
    const rotated = await webhooks.rotate(environmentOf(request), request.params.id, request.body);
    return reply.header('cache-control', 'no-store').send(found(rotated));
  });
  serve(app, options, routes.pauseWebhook, async (request) =>
    found(await webhooks.setStatus(environmentOf(request), request.params.id, 'paused')),
  );
  serve(app, options, routes.resumeWebhook, async (request) =>
    found(await webhooks.setStatus(environmentOf(request), request.params.id, 'active')),
  );
  serve(app, options, routes.deleteWebhook, async (request) => {
    const { id } = request.params;
    if (!(await webhooks.delete(environmentOf(request), id))) throw webhookNotFound();
    return { id };
  });
  serve(app, options, routes.listDeliveries, async (request) =>
    found(await webhooks.listDeliveries(environmentOf(request), request.params.id, request.query)),
  );
}

function environmentOf(request: FastifyRequest): string {
  return principalOf(request).scope.environmentId;
}

function found<Value>(value: Value | undefined): Value {
  if (value === undefined) throw webhookNotFound();
  return value;
}

function webhookNotFound(): IronflowError {
  const message = 'there is no source of webhooks of that id in this environment';
  return new IronflowError('not_found', 'webhook_not_found', message);
}
