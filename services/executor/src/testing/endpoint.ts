/** A push app's endpoint: whatever a test wants to answer with, and what was asked. */
import { createServer } from 'node:http';
import type { IncomingHttpHeaders, RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Endpoint {
  readonly url: string;
  readonly calls: { headers: IncomingHttpHeaders; body: string }[];
  close(): Promise<void>;
}

export async function listen(listener: RequestListener): Promise<Endpoint> {
  const calls: Endpoint['calls'] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks);
      calls.push({ headers: request.headers, body: body.toString('utf8') });
      // For a handler that wants the bytes themselves.
      Object.assign(request, { rawBody: body });
      listener(request, response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/ironflow`,
    calls,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
