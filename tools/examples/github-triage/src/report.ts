/** What came of the demo, decided: the platform's records and the functions' own ledger against the table made by hand. */
import type { RunDetail } from '@ironflow/sdk';
import type { ExpectedFunction } from './expected-runs.js';
import type { LedgerLine } from './ledger.js';
import { payloadOfDelivery } from './payloads.js';

export interface FunctionReport {
  functionId: string;
  mode: string;
  expected: number;
  runs: number;
  completed: number;
  /** Completed ones, sleeps included. */
  steps: number;
  /** Attempts that failed and were followed by another one. */
  retries: number;
}

export interface ExampleReport {
  ok: boolean;
  /** What is not as expected; empty when `ok`. */
  problems: string[];
  payloads: number;
  accepted: number;
  functions: FunctionReport[];
}

export interface ExampleFacts {
  expectedFunctions: Readonly<Record<string, ExpectedFunction>>;
  expectedPayloads: number;
  /** Of the accepted events. */
  eventIds: readonly string[];
  /** Every run that the events started. */
  runs: readonly RunDetail[];
  ledger: readonly LedgerLine[];
}

export function checkExample(facts: ExampleFacts): ExampleReport {
  const accepted = new Set(facts.eventIds).size;
  const problems: string[] = [];
  if (accepted !== facts.expectedPayloads) {
    problems.push(`${accepted} payloads were accepted as events of their own, not ${facts.expectedPayloads}`);
  }
  for (const [functionId, expected] of Object.entries(facts.expectedFunctions)) {
    problems.push(...checkStarts(functionId, expected, facts));
  }
  problems.push(...checkStrangers(facts));
  for (const run of facts.runs) {
    const expected = facts.expectedFunctions[run.functionId];
    if (expected !== undefined) problems.push(...checkRun(run, expected, facts.ledger));
  }
  const functions = Object.entries(facts.expectedFunctions).map(([functionId, expected]) =>
    countRuns(functionId, expected, facts.runs),
  );
  return { ok: problems.length === 0, problems, payloads: facts.expectedPayloads, accepted, functions };
}

/** One run of the function for each payload that starts it, in the API and in the ledger. */
function checkStarts(functionId: string, expected: ExpectedFunction, facts: ExampleFacts): string[] {
  const problems: string[] = [];
  for (const payload of expected.payloads) {
    const known = facts.runs.filter(
      (run) => run.functionId === functionId && payloadOfDelivery(run.correlationId) === payload,
    );
    const noted = new Set(
      facts.ledger
        .filter((line) => line.function === functionId && line.payload === payload)
        .map((line) => line.run),
    );
    if (known.length === 1 && noted.size === 1 && noted.has(known[0]!.id)) continue;
    const where = `${functionId}, payload ${payload}`;
    problems.push(`${where}: ${known.length} runs known, ${noted.size} in the ledger, not the same one`);
  }
  return problems;
}

/** What ran although nobody expected it. */
function checkStrangers({ expectedFunctions, runs, ledger }: ExampleFacts): string[] {
  const isExpected = (functionId: string, payload: number): boolean =>
    expectedFunctions[functionId]?.payloads.includes(payload) === true;
  const strangers = [
    ...runs.map((run) => ({ functionId: run.functionId, payload: payloadOfDelivery(run.correlationId) })),
    ...ledger.map((line) => ({ functionId: line.function, payload: line.payload })),
  ].filter(({ functionId, payload }) => !isExpected(functionId, payload));
  const texts = strangers.map(
    ({ functionId, payload }) => `${functionId}, payload ${payload}: ran unexpectedly`,
  );
  return [...new Set(texts)];
}

/** The run completed, each of its steps ended once, and the platform recorded what the ledger says. */
function checkRun(run: RunDetail, expected: ExpectedFunction, ledger: readonly LedgerLine[]): string[] {
  const where = `${run.functionId}, run ${run.id}`;
  if (run.status !== 'completed') {
    const reason = run.skipReason ?? run.error?.message;
    return [`${where}: is ${run.status}${reason === undefined ? '' : ` (${reason})`}, not completed`];
  }
  const problems: string[] = [];
  if (run.mode !== expected.mode) problems.push(`${where}: is ${run.mode}, not ${expected.mode}`);
  const own = ledger.filter((line) => line.run === run.id);
  const recorded = run.steps.filter((step) => step.status === 'completed').map((step) => step.name);
  const wanted = [...expected.steps, ...expected.sleeps];
  if (!isSameSet(recorded, wanted)) {
    problems.push(`${where}: completed ${recorded.join(', ')}, not ${wanted.join(', ')}`);
  }
  for (const step of expected.steps) {
    const times = own.filter((line) => line.step === step && line.kind === 'end').length;
    if (times !== 1) problems.push(`${where}: step ${step} ended ${times} times in the ledger`);
    const begun = own.filter((line) => line.step === step && line.kind === 'begin').length;
    const wantedBegins = expected.retried.includes(step) ? 2 : 1;
    if (begun !== wantedBegins) {
      problems.push(`${where}: step ${step} began ${begun} times in the ledger, not ${wantedBegins}`);
    }
  }
  const retried = run.steps.filter((step) => step.status === 'errored').map((step) => step.name);
  if (!isSameSet(retried, expected.retried)) {
    problems.push(`${where}: tried again ${retried.join(', ')}, not ${expected.retried.join(', ')}`);
  }
  return problems;
}

function countRuns(
  functionId: string,
  expected: ExpectedFunction,
  all: readonly RunDetail[],
): FunctionReport {
  const runs = all.filter((run) => run.functionId === functionId);
  const steps = runs.flatMap((run) => run.steps);
  return {
    functionId,
    mode: expected.mode,
    expected: expected.payloads.length,
    runs: runs.length,
    completed: runs.filter((run) => run.status === 'completed').length,
    steps: steps.filter((step) => step.status === 'completed').length,
    retries: steps.filter((step) => step.status === 'errored').length,
  };
}

function isSameSet(some: readonly string[], others: readonly string[]): boolean {
  return some.length === others.length && [...some].sort().join('\n') === [...others].sort().join('\n');
}
