/** What tests of the whole platform measure with, as the benchmark and the faults do. */
export { readAcceptedSteps, readJournalTimes } from './journal-times.js';
export { earliest, examine, stepKey } from './ledger.js';
export type { LedgerFindings, LedgerLine, StoredTimes } from './ledger.js';
export { usageOf } from './process-usage.js';
export type { Usage } from './process-usage.js';
