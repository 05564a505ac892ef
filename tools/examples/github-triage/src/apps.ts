/** The example's two apps: one that the platform calls over HTTP, and one that connects to the platform. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createWorker, serve } from '@ironflow/sdk';
import type { Log } from '@ironflow/sdk';
import { greetFirstTimeContributor } from './functions/greet-first-time-contributor.js';
import { summarisePullRequest } from './functions/summarise-pull-request.js';
import { triageIssue } from './functions/triage-issue.js';
import { watchSecurity } from './functions/watch-security.js';
import type { Ledger } from './ledger.js';

export interface AppsOptions {
  ironflowUrl: string;
  apiKey: string;
  signingKey: string;
  /** Where the push app listens, and is called at. */
  host: string;
  lifecycle: { onStop(name: string, stop: () => unknown): void };
  ledger: Ledger;
  log: Log;
}

/** Push: an HTTP endpoint, on any free port of this machine; the platform signs its calls. Answers with its URL. */
export async function startTriageApp(options: AppsOptions): Promise<string> {
  const server = createServer((request, response) => handler.node(request, response));
  server.listen(0, options.host);
  await once(server, 'listening');
  options.lifecycle.onStop('github-triage endpoint', () => {
    server.close();
    server.closeAllConnections();
  });
  const url = `http://${options.host}:${(server.address() as AddressInfo).port}/ironflow`;
  const { ironflowUrl, apiKey, signingKey, ledger, log } = options;
  const functions = [triageIssue(ledger), greetFirstTimeContributor(ledger)];
  const handler = serve({ app: 'github-triage', functions, url, ironflowUrl, apiKey, signingKey, log });
  await handler.register();
  return url;
}

/** Pull: a worker, which needs no address of its own; it registers as it starts. */
export async function startDigestApp(options: AppsOptions): Promise<void> {
  const { ironflowUrl, apiKey, ledger, log } = options;
  const functions = [summarisePullRequest(ledger), watchSecurity(ledger)];
  // Who started us handles the signals.
  const handleSignals = false;
  const worker = createWorker({ app: 'github-digest', functions, ironflowUrl, apiKey, handleSignals, log });
  options.lifecycle.onStop('github-digest worker', () => worker.stop({ timeoutMs: 5_000 }));
  await worker.start();
}
