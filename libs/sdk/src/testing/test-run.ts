/**
 * The test kit: drives a function in memory, by the same replay core as worker and endpoint. Time is virtual between
 * activations, where sleeps and the delays of retries pass; while the function works it stands still. Waits are answered
 * before it passes.
 */
import type { EmittedEvent, Failure, NotCompensated, StepStatus, StepType } from '@ironflow/schema';
import { emittedEvent } from '../event-to-emit.js';
import type { IronflowFunction } from '../function.js';
import type { LogLine } from '../logger.js';
import { readOutput, writeOutput } from '../output.js';
import type { Jsonified } from '../output.js';
import type { Activation } from '../replay/activation.js';
import { unlessRefused } from '../replay/platform-calls.js';
import type { PlatformCalls } from '../replay/platform-calls.js';
import { secretNotFound } from '../client/secrets.js';
import { keepSecret } from '../redaction.js';
import { startTimer } from '../timer.js';
import { StepMocks } from './step-mocks.js';
import { toFailure } from '../failure.js';
import {
  activateStored,
  answerWait,
  createStoredRun,
  driveToEnd,
  endWait,
  notCompensatedOf,
  purposeOf,
} from './stored-run.js';
import type { EndOutcome, StoredRun } from './stored-run.js';
import { readOptions } from './test-run-options.js';
import type { ReadOptions, TestRunOptions } from './test-run-options.js';

export interface TestRun<Output = unknown> {
  /** Drives the run to its end; called again, it answers the same. */
  readonly execute: () => Promise<TestResult<Output>>;
  /** As somebody who cancels it: what is at work is aborted, and what was registered is undone. */
  readonly cancel: () => void;
  /** The run's clock. */
  readonly now: () => Date;
}

export interface TestResult<Output = unknown> {
  status: 'completed' | 'failed' | 'cancelled';
  /** What the function returned, gone through JSON. */
  output: Jsonified<Output> | undefined;
  /** What the function threw in its last attempt. */
  error: Failure | undefined;
  /** In the order in which they were first recorded; answers of `step.patched` and compensations included. */
  steps: TestStep[];
  /** What `step.compensate` had registered and could not be undone. */
  notCompensated: NotCompensated[];
  /** What `step.sendEvent` sent: each event once, as the platform keeps it. */
  sent: EmittedEvent[];
  /** What `step.publish` published: each message once. */
  published: { topic: string; data: unknown }[];
  /** Of the function's `logger`, and warnings of the SDK. */
  logs: LogLine[];
  /** Keys of `steps` that no step asked for: a name that is misspelt leaves its step to do its work. */
  unusedMocks: string[];
  /** The run's clock: when it ended. */
  now: () => Date;
}

export interface TestStep {
  id: string;
  name: string;
  type: StepType;
  /** `waiting` or `retrying`: the function ended without waiting for it. */
  status: StepStatus;
  attempts: number;
  output: unknown;
  /** Of its last attempt. */
  error: Failure | undefined;
}

/**
 * A run of a function in memory, for tests: nothing is sent or stored anywhere. Throws a ConfigurationError that names the
 * option when one is wrong.
 *
 * Sleeps and retries pass at once, on the run's own clock; retries wait for their full delay, without jitter. A step's
 * `timeout` is real time, as is its work.
 */
export function createTestRun<Data, Output, Input>(
  definition: IronflowFunction<Data, Output, Input>,
  options: TestRunOptions<Input> = {},
): TestRun<Awaited<Output>> {
  const run = new VirtualRun(definition, readOptions(definition, options));
  let result: Promise<TestResult> | undefined;
  return {
    execute: () => (result ??= run.execute()) as Promise<TestResult<Awaited<Output>>>,
    cancel: () => run.cancel(),
    now: () => run.now(),
  };
}

const runId = '0192f0c0-0000-7000-8000-000000000001';
/** Nothing answers there; a number follows, so that no two are the same. */
const approvalUrl = 'https://ironflow.example/v1/approvals/test-';
const invokedEventId = '0192f0c0-0000-7000-8000-000000000002';
/** The longest delay that a policy allows: a test can say when a retry comes. */
const withoutJitter = () => 1 - Number.EPSILON;

class VirtualRun {
  private readonly stored: StoredRun = createStoredRun();
  private readonly mocks: StepMocks;
  private readonly logs: LogLine[] = [];
  private readonly sent = new Map<string, EmittedEvent>();
  private readonly published = new Map<string, { topic: string; data: unknown }>();
  private readonly crashes: number[];
  private clockMs: number;
  private cancelled = false;
  private current: Activation | undefined;

  private links = 0;

  constructor(
    private readonly definition: IronflowFunction,
    private readonly options: ReadOptions,
  ) {
    this.mocks = new StepMocks(options.mocks);
    this.crashes = [...options.crashAfter];
    this.clockMs = options.nowMs;
  }

  now(): Date {
    return new Date(this.clockMs);
  }

  cancel(): void {
    this.cancelled = true;
    if (this.stored.stopping === undefined) this.current?.abort(new Error('the run was cancelled'));
  }

  async execute(): Promise<TestResult> {
    const end = await driveToEnd(this.stored, {
      activate: () => this.activate(),
      pause: (delayMs) => (this.clockMs += delayMs),
      wake: () => this.wake(),
      isCancelled: () => this.cancelled,
    });
    return this.resultOf(end);
  }

  private async activate() {
    this.endWaitsThatAreDue();
    const { id: functionId } = this.definition;
    const crashAt = this.crashes[0];
    const outcome = await activateStored({
      run: this.stored,
      definition: this.definition,
      mode: this.options.mode,
      crashAfter: crashAt === undefined ? undefined : crashAt - this.stored.records.length,
      invocation: {
        ...purposeOf(this.stored),
        run: { id: runId, functionId, attempt: this.stored.attempt },
        event: this.options.event,
        laterEvents: this.options.laterEvents,
        memo: structuredClone([...this.stored.steps.values()]),
        mismatch: this.stored.mismatch,
      },
      workOf: this.mocks.workOf,
      now: () => this.clockMs,
      random: withoutJitter,
      startTimer,
      platform: this.platform,
      log: (line) => this.logs.push(line),
      onActivation: (activation) => (this.current = activation),
    });
    if (this.cancelled) await this.current?.atRest();
    if (outcome === 'crashed' && !this.cancelled) this.crashes.shift();
    return outcome;
  }

  /** What a step waits for has come; without an answer for any of them, the time of the wait that ends next. */
  private async wake(): Promise<boolean> {
    if (await this.answerWaits()) return true;
    const dueAtMs = Math.min(...this.stored.dueAtMs.values());
    if (!Number.isFinite(dueAtMs)) return false;
    this.clockMs = Math.max(this.clockMs, dueAtMs);
    this.endWaitsThatAreDue();
    return true;
  }

  private async answerWaits(): Promise<boolean> {
    let isAnswered = false;
    for (const { id, type, status } of [...this.stored.steps.values()]) {
      if (status !== 'waiting' || type === 'sleep' || this.stored.stopping !== undefined) continue;
      const answer = this.mocks.answerOf(this.nameOf(id), id);
      if (answer === undefined) continue;
      answerWait(this.stored, id, await answerOf(answer));
      isAnswered = true;
    }
    return isAnswered;
  }

  private nameOf(stepId: string): string {
    return this.stored.records.find(({ id }) => id === stepId)!.name;
  }

  private endWaitsThatAreDue(): void {
    const due = [...this.stored.dueAtMs].filter(([, dueAtMs]) => dueAtMs <= this.clockMs);
    for (const [stepId] of due.sort((a, b) => a[1] - b[1])) endWait(this.stored, stepId);
  }

  /** By its key, as the platform does: what a crash sends again is there once. */
  private readonly platform: PlatformCalls = {
    emit: async (events) => {
      const ids = [events].flat().map((event) => {
        const { idempotencyKey: key = `${this.sent.size}` } = event;
        if (!this.sent.has(key)) this.sent.set(key, emittedEvent(event));
        return `event-${[...this.sent.keys()].indexOf(key)}`;
      });
      return { ids };
    },
    invoke: async () => ({ ids: [invokedEventId] }),
    topics: {
      publish: async (topic, data, { idempotencyKey: key = `${this.published.size}` } = {}) => {
        if (!this.published.has(key)) this.published.set(key, { topic, data });
        return { id: String([...this.published.keys()].indexOf(key) + 1) };
      },
    },
    secrets: { get: (name) => unlessRefused(async () => this.secret(name)) },
    config: {
      get: async <Data>(name: string) => structuredClone(this.options.config[name]) as Data | undefined,
    },
    approvals: { createLink: async () => ({ url: `${approvalUrl}${(this.links += 1)}` }) },
  };

  private secret(name: string): string {
    const { [name]: value } = this.options.secrets;
    if (value === undefined) throw secretNotFound(name);
    keepSecret(value);
    return value;
  }

  private resultOf(end: EndOutcome): TestResult {
    const names = new Map(this.stored.records.map(({ id, name }) => [id, name]));
    return {
      status: end.kind === 'threw' ? 'failed' : end.kind,
      output: end.kind === 'completed' ? readOutput(end.output) : undefined,
      error: end.kind === 'threw' ? end.error : undefined,
      steps: [...names].map(([id, name]) => {
        const { type, status, attempt, output, error } = this.stored.steps.get(id)!;
        return { id, name, type, status, attempts: attempt, output: readOutput(output), error };
      }),
      notCompensated: end.kind === 'completed' ? [] : notCompensatedOf(this.stored),
      sent: [...this.sent.values()],
      published: [...this.published.values()],
      logs: this.logs,
      unusedMocks: this.mocks.unusedKeys,
      now: () => this.now(),
    };
  }
}

/** It went through JSON, as an event, a signal or the output of another run does. */
async function answerOf(answer: () => Promise<unknown>) {
  try {
    return { output: writeOutput(await answer()) ?? 'null' };
  } catch (thrown) {
    return { error: toFailure(thrown) };
  }
}
