/** What tests of the whole platform measure with, as the benchmark and the faults do. */
export { appEnvOf, startChild } from './children.js';
export type { Child } from './children.js';
export { startEmission } from './emission.js';
export type { Emission } from './emission.js';
export { countRuns, countUnserved } from './fault-checks.js';
export type { RunCounts } from './fault-checks.js';
export { checkFirings } from './firings.js';
export { readAcceptedSteps, readJournalTimes } from './journal-times.js';
export { attemptKey, createLedger, earliest, examine, readLedger, stepKey } from './ledger.js';
export type { LedgerFindings, LedgerLine, StoredTimes } from './ledger.js';
export { namesOf, wholeNumber } from './option-values.js';
export { usageOf } from './process-usage.js';
export type { Usage } from './process-usage.js';

/** The apps that run while something is done to the platform: a worker and a push endpoint, each a program of its own. */
export const faultApps = {
  worker: new URL('../dist/fault-worker.js', import.meta.url),
  endpoint: new URL('../dist/fault-endpoint.js', import.meta.url),
};
