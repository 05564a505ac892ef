/**
 * Where providers send their webhooks. Nobody has a key here: the address says whose a delivery is, before its body is read, and
 * the signature over the bytes as they came says whether to believe it. The answer comes after the commit.
 */
import { randomBytes } from 'node:crypto';
import type { WebhookSource } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import { createId, limits, routes, webhookRefusals } from '@ironflow/schema';
import type { WebhookRefusal } from '@ironflow/schema';
import type { Clock, HttpApp } from '@ironflow/service';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Emit } from './emission.js';
import { claimedDeliveryId, loggedDeliveryId, webhookEvent } from './webhook-event.js';
import type { WebhookEvent } from './webhook-event.js';
import type { WebhookLog } from './webhook-log.js';
import type { WebhookSources } from './webhook-sources.js';
import { verifyDelivery } from './webhook-verification.js';
import type { ReceivedDelivery } from './webhook-verification.js';

export interface WebhookRoutesOptions {
  sources: WebhookSources;
  log: WebhookLog;
  emit: Emit;
  clock: Clock;
  /** Makes room for the body that is about to be read. */
  makeRoom(request: FastifyRequest, reply: FastifyReply, bodyBytesMax: number): void;
}

declare module 'fastify' {
  interface FastifyRequest {
    webhook: WebhookSource | null;
  }
}

export function addWebhookRoutes(app: HttpApp, options: WebhookRoutesOptions): void {
  // A scope of its own: here a body is bytes, and what is refused is logged.
  void app.register(async (routed: HttpApp) => {
    routed.decorateRequest('webhook', null);
    routed.removeAllContentTypeParsers();
    routed.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
    routed.setErrorHandler(async (error, request) => {
      const refused = asRefusal(error);
      if (request.webhook !== null && isRefusal(refused))
        await logRefusal(options.log, request, refused.code);
      throw refused;
    });
    addReceiver(routed, options);
  });
}

function addReceiver(app: HttpApp, options: WebhookRoutesOptions): void {
  const { path, params, query } = routes.receiveWebhook;
  app.post(
    path,
    {
      schema: { params, querystring: query },
      bodyLimit: limits.webhookBodyBytesMax,
      onRequest: async (request, reply) => {
        const { address } = request.params;
        request.webhook = await findSource(options.sources, address);
        // Before its body is read.
        requireActive(request.webhook);
        options.makeRoom(request, reply, limits.webhookBodyBytesMax);
      },
    },
    async (request, reply) => {
      const source = request.webhook!;
      const event = readEvent(source, receivedOf(request), options.clock.now());
      request.releaseBody?.();
      const { deliveryId, ...prepared } = event;
      const id = createId(options.clock.now(), randomBytes(10));
      const { ids } = await options.emit({
        scope: source.scope,
        source: 'webhook',
        events: [{ ...prepared, id }],
      });
      const eventId = ids[0]!;
      const duplicate = eventId !== id;
      await options.log.record(source.scope.environmentId, {
        sourceId: source.id,
        status: duplicate ? 'duplicate' : 'accepted',
        deliveryId: loggedDeliveryId(deliveryId),
        eventId,
        eventName: event.name,
      });
      return reply.code(duplicate ? 200 : 202).send({ id: eventId, duplicate });
    },
  );
}

async function findSource(sources: WebhookSources, address: string): Promise<WebhookSource> {
  const source = await sources.find(address);
  if (source !== undefined) return source;
  throw new IronflowError('not_found', 'webhook_not_found', 'there is no source of webhooks at this address');
}

const pausedRetryAfterSeconds = 60;

function requireActive({ status }: WebhookSource): void {
  if (status === 'active') return;
  throw new IronflowError(
    'unavailable',
    'webhook_paused' satisfies WebhookRefusal,
    'this source is paused: send it again later',
    { retryAfterSeconds: pausedRetryAfterSeconds },
  );
}

function readEvent(source: WebhookSource, delivery: ReceivedDelivery, nowMs: number): WebhookEvent {
  const verified = verifyDelivery(source.scheme, delivery, source.keys(), nowMs);
  if (!verified.ok) throw new IronflowError('unauthenticated', verified.refusal, verified.rule);
  return webhookEvent(source, delivery, verified.timestamp);
}

function receivedOf({ headers, body }: FastifyRequest): ReceivedDelivery {
  return {
    header: (name) => {
      const value = headers[name];
      return typeof value === 'string' ? value : undefined;
    },
    body: Buffer.isBuffer(body) ? body : Buffer.alloc(0),
  };
}

/** What the layers around say, in the words of this route. */
function asRefusal(error: unknown): unknown {
  const code = (error as { code?: unknown }).code;
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
    const rule = `the body is larger than the limit of ${limits.webhookBodyBytesMax} bytes`;
    return new IronflowError('too_large', 'body_too_large' satisfies WebhookRefusal, rule);
  }
  if (code === 'idempotency_key_reused') {
    const rule = 'a delivery of this id became an event of another name within 24 hours';
    return new IronflowError('conflict', 'delivery_id_reused' satisfies WebhookRefusal, rule, {
      cause: error,
    });
  }
  return error;
}

function isRefusal(error: unknown): error is IronflowError & { code: WebhookRefusal } {
  return error instanceof IronflowError && (webhookRefusals as readonly string[]).includes(error.code);
}

async function logRefusal(log: WebhookLog, request: FastifyRequest, reason: WebhookRefusal): Promise<void> {
  const source = request.webhook!;
  await log.record(source.scope.environmentId, {
    sourceId: source.id,
    status: 'refused',
    reason,
    deliveryId: claimedDeliveryId(source, receivedOf(request).header),
  });
}
