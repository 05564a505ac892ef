/** Messages of topics, over server-sent events; a connection goes on where the one before broke off. */
import type { TopicMessage } from '@ironflow/schema';
import type { Http } from './http.js';
import { readEvents } from './reconnecting-events.js';

export async function* subscribe(of: {
  http: Http;
  pattern: string;
  after?: string;
  signal?: AbortSignal;
}): AsyncIterableIterator<TopicMessage> {
  const path = `/v1/topics/${encodeURIComponent(of.pattern)}/messages`;
  let { after } = of;
  const messages = readEvents({
    http: of.http,
    signal: of.signal,
    request: () => ({ path, query: { after } }),
    isNews: ({ name, data }) => {
      // Where a subscription begins that was to begin now.
      if (name === 'subscribed') ({ after } = JSON.parse(data) as { after: string });
      return name === 'message';
    },
  });
  for await (const text of messages) {
    const message = JSON.parse(text) as TopicMessage;
    after = message.id;
    yield message;
  }
}
