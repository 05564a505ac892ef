/** What tests of the whole platform measure with, as the benchmark and the faults do. */
export { startChild } from './children.js';
export type { Child } from './children.js';
export { checkFirings } from './firings.js';
export { readAcceptedSteps, readJournalTimes } from './journal-times.js';
export { attemptKey, createLedger, earliest, examine, readLedger, stepKey } from './ledger.js';
export type { LedgerFindings, LedgerLine, StoredTimes } from './ledger.js';
export { namesOf, wholeNumber } from './option-values.js';
export { usageOf } from './process-usage.js';
export type { Usage } from './process-usage.js';
