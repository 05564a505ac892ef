/** `client.webhooks`: sources of webhooks, and what was delivered to them. */
import type {
  DeletedWebhook,
  DeliveriesPage,
  DeliveriesQuery,
  NewWebhook,
  Webhook,
  WebhookWithSecret,
} from '@ironflow/schema';
import { parseDuration } from '../duration.js';
import type { Duration } from '../duration.js';
import type { Http } from './http.js';

/** `url` is where the provider is to send. */
export type WebhookSource = Webhook & { url: string };

/** `secret` is there if the platform has made it, and is not shown again. */
export type CreatedWebhook = WebhookWithSecret & { url: string };

export interface RotateOptions {
  /** The provider's, if it makes its secrets itself. Default: a fresh one, which is answered. */
  secret?: string;
  /** How long the secrets before are good as well, at most a week. Default: a day; with 0 they are good no more. */
  grace?: Duration;
}

export interface Webhooks {
  /** Rejects with `webhook_exists` when there is one of that id. */
  create(source: NewWebhook): Promise<CreatedWebhook>;
  list(): Promise<WebhookSource[]>;
  get(id: string): Promise<WebhookSource>;
  /** Replaces the secret. */
  rotate(id: string, options?: RotateOptions): Promise<CreatedWebhook>;
  /** Deliveries are refused with 503, so that a provider that tries again does so later. */
  pause(id: string): Promise<WebhookSource>;
  resume(id: string): Promise<WebhookSource>;
  /** With its address, secrets and log; its events stay. */
  delete(id: string): Promise<DeletedWebhook>;
  /** The newest first, refused ones with the reason; kept for 30 days, and the last 10,000 of a source. */
  deliveries(id: string, query?: Partial<DeliveriesQuery>): Promise<DeliveriesPage>;
}

export function createWebhooks(http: Http, platformUrl: string): Webhooks {
  const withUrl = <Source extends Webhook>(source: Source) => ({ ...source, url: platformUrl + source.path });
  const pathOf = (id: string, rest = '') => `/v1/webhooks/${encodeURIComponent(id)}${rest}`;
  const post = async <Answer extends Webhook>(path: string, content?: unknown) => {
    const body = content === undefined ? {} : { body: JSON.stringify(content) };
    return withUrl(await http.json<Answer>({ method: 'POST', path, ...body }));
  };
  return {
    create: (source) => post<WebhookWithSecret>('/v1/webhooks', source),
    list: async () => {
      const { webhooks } = await http.json<{ webhooks: Webhook[] }>({ method: 'GET', path: '/v1/webhooks' });
      return webhooks.map(withUrl);
    },
    get: async (id) => withUrl(await http.json<Webhook>({ method: 'GET', path: pathOf(id) })),
    rotate: async (id, { secret, grace } = {}) => {
      const graceSeconds = grace === undefined ? undefined : Math.ceil(parseDuration(grace) / 1_000);
      return post<WebhookWithSecret>(pathOf(id, '/rotate'), { secret, graceSeconds });
    },
    pause: (id) => post(pathOf(id, '/pause')),
    resume: (id) => post(pathOf(id, '/resume')),
    delete: (id) => http.json({ method: 'DELETE', path: pathOf(id) }),
    deliveries: (id, query = {}) => http.json({ method: 'GET', path: pathOf(id, '/deliveries'), query }),
  };
}
