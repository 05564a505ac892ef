/** A push app on a port of its own, which remembers who called it and can be made to fail. */
import { createServer } from 'node:http';
import type { IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { serve } from '@ironflow/sdk';
import type { IronflowFunction } from '@ironflow/sdk';

export interface PushApp {
  url: string;
  /** The headers of each call so far, with when it came. */
  readonly calls: { atMs: number; headers: IncomingHttpHeaders }[];
  /** While true, calls are answered with 500 and reach no function. */
  isFailing: boolean;
  /** While true, calls get no answer before `release`. */
  isHolding: boolean;
  release(): void;
  register(): Promise<unknown>;
  stop(): void;
}

export async function startPushApp(options: {
  ironflowUrl: string;
  apiKey: string;
  signingKey: string;
  app: string;
  functions: IronflowFunction[];
}): Promise<PushApp> {
  let held: (() => void)[] = [];
  const server = createServer((request, response) => {
    const answer = (): void => {
      if (!pushApp.isFailing) return app.node(request, response);
      request.resume();
      response.writeHead(500).end();
    };
    if (request.method === 'POST') pushApp.calls.push({ atMs: Date.now(), headers: request.headers });
    if (pushApp.isHolding) held.push(answer);
    else answer();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const app = serve({ ...options, url, log: () => {} });
  const pushApp: PushApp = {
    url,
    calls: [],
    isFailing: false,
    isHolding: false,
    release: () => {
      pushApp.isHolding = false;
      const answers = held;
      held = [];
      for (const answer of answers) answer();
    },
    register: () => app.register(),
    stop: () => {
      server.close();
      server.closeAllConnections();
    },
  };
  return pushApp;
}
