/** Starts both apps, sends every payload, waits for the runs and checks them against what was expected by hand. */
import { randomBytes } from 'node:crypto';
import { appendFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createClient } from '@ironflow/sdk';
import type { Log } from '@ironflow/sdk';
import { startDigestApp, startTriageApp } from './apps.js';
import { expectedFunctions, expectedPayloads, expectedRuns } from './expected-runs.js';
import { isDeliveryOf, payloadOfDelivery, readPayloads, toEvent } from './payloads.js';
import { openLedger, readLedger } from './ledger.js';
import { checkExample } from './report.js';
import type { ExampleReport } from './report.js';
import { reportLines, timelineLines } from './report-text.js';
import { emitAll, waitForRuns } from './webhooks.js';

export interface ExampleOptions {
  ironflowUrl: string;
  apiKey: string;
  signingKey: string;
  /** Where the ledger and the log of the apps go. */
  dataFolder: string;
  /** Where the push app listens; default: on this machine alone. */
  host?: string;
  /** Both apps run until it stops them. */
  lifecycle: { onStop(name: string, stop: () => unknown): void };
  say: (line: string) => void;
}

/** The one whose timeline is printed: an issue is opened. */
const shownRun = { functionId: 'triage-issue', payload: 118 };

export async function runExample(options: ExampleOptions): Promise<ExampleReport> {
  const { say } = options;
  const startedAtMs = Date.now();
  mkdirSync(options.dataFolder, { recursive: true });
  const ledgerFile = join(options.dataFolder, 'github-triage.ledger.jsonl');
  const log = logTo(join(options.dataFolder, 'github-triage.log'));
  const apps = { host: '127.0.0.1', ...options, ledger: openLedger(ledgerFile), log };

  say('');
  say('Example github-triage');
  const url = await startTriageApp(apps);
  say(`  push app github-triage at ${url}: triage-issue, greet-first-time-contributor`);
  await startDigestApp(apps);
  say('  pull app github-digest, a worker: summarise-pull-request, watch-security');

  const payloads = readPayloads();
  const demo = `github-${randomBytes(4).toString('hex')}`;
  say(`  sending ${payloads.length} webhook payloads of GitHub, as ${demo}`);
  const client = createClient(options);
  const events = payloads.map((payload) => toEvent(payload, demo));
  const isOurs = (delivery: string): boolean => isDeliveryOf(delivery, demo);
  const eventIds = await emitAll(client, events);
  const runs = await waitForRuns({ client, expectedRuns, isOurs, startedAtMs });

  const report = checkExample({
    expectedFunctions,
    expectedPayloads,
    eventIds,
    runs,
    ledger: readLedger(ledgerFile, isOurs),
  });
  const shown = runs.find(
    (run) =>
      run.functionId === shownRun.functionId && payloadOfDelivery(run.correlationId) === shownRun.payload,
  );
  for (const line of reportLines(report)) say(indent(line));
  if (shown !== undefined) for (const line of timelineLines(shown)) say(indent(line));
  say(`  Ledger of the functions: ${ledgerFile}`);
  return report;
}

function indent(line: string): string {
  return line === '' ? '' : `  ${line}`;
}

function logTo(path: string): Log {
  return ({ level, message, fields }) =>
    appendFileSync(
      path,
      `${JSON.stringify({ time: new Date().toISOString(), level, message, ...fields })}\n`,
    );
}
