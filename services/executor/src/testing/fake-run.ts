/** An active run without a journal behind it, for tests of what stands between it and its worker. */
import { randomUUID } from 'node:crypto';
import type { ActiveRun } from '../active-run.js';
import type { Lease } from '../lease.js';
import { StopRequest } from '../stop-requests.js';

export interface FakeRun extends ActiveRun {
  /** What became of its lease. */
  readonly answers: string[];
}

export function createFakeRun(over: Partial<ActiveRun> = {}): FakeRun {
  const answers: string[] = [];
  const runId = randomUUID();
  let held = true;
  const say = (word: string): void => {
    if (held) answers.push(word);
    held = false;
  };
  const lease: Lease = {
    isHeld: () => held,
    abandon: () => say('abandoned'),
    finish: () => say('finished'),
    discard: () => say('discarded'),
    handBack: () => say('handed back'),
    onLost: () => undefined,
    onBeat: () => undefined,
  };
  return {
    answers,
    runId,
    scope: { environmentId: randomUUID(), project: 'p', env: 'e' },
    appId: 'app',
    buildId: undefined,
    isPinnable: false,
    functionId: 'f',
    writer: { activation: 1, delivery: 1, executor: 'x' },
    event: { id: runId, name: 'n', data: 'null', source: 'http', receivedAtMs: 1, correlationId: runId },
    laterEvents: [],
    wake: 1,
    failures: 0,
    memo: new Map(),
    hasRegistered: false,
    stopping: undefined,
    isTooLate: false,
    isLimited: false,
    activeMs: 0,
    memoBytes: 0,
    mismatch: undefined,
    unrecordedCalls: undefined,
    callReported: false,
    registryVersion: 1,
    stop: new StopRequest(),
    lease,
    journal: { append: () => Promise.resolve('appended'), pin: () => undefined, hasAppended: () => false },
    activatedAtMs: 1,
    queuedMs: 0,
    traceparent: undefined,
    trace: undefined,
    causedBy: undefined,
    ...over,
  };
}
