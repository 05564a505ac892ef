/** Someone who sends webhooks: each signed, under an id of its own, and sent again until it is answered. */
import { createHmac } from 'node:crypto';
import type { Requester, Request } from './client.js';

export interface Provider {
  deliveryOf(eventName: string, data: { key: string }): Request;
}

const secret = 'a secret of the provider of the load';
const source = {
  id: 'chaos',
  provider: 'custom',
  secret,
  scheme: {
    signature: { header: 'x-chaos-signature' },
    deliveryId: { path: 'key' },
    eventType: [{ header: 'x-chaos-mode' }, { header: 'x-chaos-name' }],
  },
};

export async function createProvider(requester: Requester): Promise<Provider> {
  const { status, body } = await requester.send({ method: 'POST', path: '/v1/webhooks', body: source });
  if (status !== 201) throw new Error(`the source of webhooks could not be made: ${status}`);
  const { path } = body as { path: string };
  return {
    deliveryOf: (eventName, data) => {
      const [, mode, name] = eventName.split('.') as [string, string, string];
      const text = JSON.stringify(data);
      const signature = createHmac('sha256', secret).update(text).digest('hex');
      const headers = { 'x-chaos-signature': signature, 'x-chaos-mode': mode, 'x-chaos-name': name };
      return { method: 'POST', path, delivery: { text, headers } };
    },
  };
}
