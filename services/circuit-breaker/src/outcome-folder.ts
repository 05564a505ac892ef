/**
 * Folds outcomes into their breakers. What can be kept in memory is, at once; the rest of a breaker gathers while its write
 * before is under way and then goes into one compare-and-set. One breaker is written by one loop at a time, so the
 * outcomes that a replica was given keep their order.
 */
import { messageOf } from '@ironflow/errors';
import type { Bucket } from '@ironflow/jetstream';
import type {
  CircuitOutcome,
  CircuitOverrides,
  CircuitParts,
  CircuitPolicy,
  CircuitState,
} from '@ironflow/schema';
import type { Clock, Logger } from '@ironflow/service';
import type { CircuitMetrics } from './circuit-metrics.js';
import { foldInto, hasToBeWritten, keepInMemory, nothingUnsaved, unsavedIn } from './circuit-view.js';
import type { Fold } from './circuit-view.js';
import { emptyView } from './circuit-views.js';
import type { CircuitViews } from './circuit-views.js';

export interface OutcomeFolderOptions {
  bucket: Bucket;
  views: CircuitViews;
  /** Of functions that say nothing else. */
  policy: CircuitPolicy;
  /** Hears of what this replica wrote that moved a breaker, or counted a successful probe. */
  onMoved: (moved: MovedCircuit) => void;
  metrics: CircuitMetrics;
  logger: Logger;
  clock: Clock;
}

export interface OutcomeFolder {
  /** `settle` hears, perhaps before this returns, whether the outcome is counted; if not, it has to come again. */
  fold(outcome: ReportedOutcome, settle: (isCounted: boolean) => void): void;
}

export interface ReportedOutcome {
  key: string;
  parts: CircuitParts;
  outcome: CircuitOutcome;
  /** What the function said of its breakers when it was called. */
  overrides: CircuitOverrides | undefined;
  /** Of the message that reported it: its place in the installation. */
  subject: string;
}

export interface MovedCircuit {
  from: CircuitState['state'];
  after: CircuitState;
  subject: string;
  atMs: number;
}

interface Group {
  parts: CircuitParts;
  /** Of the outcome that came last, as is what follows. */
  policy: CircuitPolicy;
  subject: string;
  outcomes: CircuitOutcome[];
  settles: ((isCounted: boolean) => void)[];
}

/** Requests in flight; a breaker has at most one of them. */
const loopsMax = 64;
/** Each loss means that another replica's write got through: this many in a row is a storm, and a pause helps. */
const attemptsMax = 8;
const backoffMs = 5;

export function createOutcomeFolder(options: OutcomeFolderOptions): OutcomeFolder {
  const { views, clock } = options;
  const groups = new Map<string, Group>();
  const looping = new Set<string>();
  let isStarting = false;

  const start = (): void => {
    isStarting = false;
    for (const key of groups.keys()) {
      if (looping.size >= loopsMax) return;
      if (!looping.has(key)) void loop(key);
    }
  };
  const loop = async (key: string): Promise<void> => {
    looping.add(key);
    for (let group = groups.get(key); group !== undefined; group = groups.get(key)) {
      groups.delete(key);
      const isCounted = await writeGroup(options, key, group);
      for (const settle of group.settles) settle(isCounted);
    }
    looping.delete(key);
    start();
  };

  return {
    fold: ({ key, parts, outcome, overrides, subject }, settle) => {
      const policy = overrides === undefined ? options.policy : { ...options.policy, ...overrides };
      const group = groups.get(key);
      if (group !== undefined) {
        group.policy = policy;
        group.subject = subject;
        group.outcomes.push(outcome);
        group.settles.push(settle);
        return;
      }
      const view = looping.has(key) ? undefined : views.get(key);
      if (view !== undefined) {
        const kept = keepInMemory(view, { parts, outcomes: [outcome], policy, nowMs: clock.now() });
        if (kept !== undefined) {
          views.set(key, kept);
          return settle(true);
        }
      }
      groups.set(key, { parts, policy, subject, outcomes: [outcome], settles: [settle] });
      // Deliveries come in bursts: those of the same turn share the write.
      if (!isStarting) setImmediate(start);
      isStarting = true;
    },
  };
}

async function writeGroup(options: OutcomeFolderOptions, key: string, group: Group): Promise<boolean> {
  const { metrics, logger } = options;
  try {
    for (let attempt = 1; attempt <= attemptsMax; attempt += 1) {
      if (await tryToWrite(options, key, group)) return true;
      metrics.conflict();
      await pause(options.clock, attempt);
    }
    logger.warn({ attempts: attemptsMax }, 'a circuit breaker is written by others all the time');
  } catch (error) {
    metrics.failedWrite();
    logger.warn({ reason: messageOf(error) }, 'a circuit breaker cannot be written');
  }
  return false;
}

/** False if another was quicker. */
async function tryToWrite(options: OutcomeFolderOptions, key: string, group: Group): Promise<boolean> {
  const { bucket, views, clock, metrics } = options;
  const stored = await views.read(key);
  const fold: Fold = { ...group, nowMs: clock.now() };
  const unsaved = views.get(key)?.unsaved ?? nothingUnsaved;
  const next = foldInto(stored.state, unsaved, fold);
  if (!hasToBeWritten(stored.state, next, fold)) {
    const isClosed = next.state === 'closed';
    views.set(key, {
      saved: stored.state,
      unsaved: isClosed ? unsavedIn(next, stored.state) : nothingUnsaved,
    });
    return true;
  }
  const text = JSON.stringify(next);
  const isWritten =
    stored.revision === undefined
      ? await bucket.create(key, text)
      : await bucket.update(key, text, stored.revision);
  if (!isWritten) return false;
  views.set(key, emptyView(next));
  metrics.written();
  const from = stored.state?.state ?? 'closed';
  if (from !== next.state || next.successes > (stored.state?.successes ?? 0)) {
    options.onMoved({ from, after: next, subject: group.subject, atMs: fold.nowMs });
  }
  return true;
}

function pause(clock: Clock, attempt: number): Promise<void> {
  // Randomly, or two replicas that met once would meet again.
  const delayMs = backoffMs * attempt * (1 + Math.random());
  return new Promise((resolve) => clock.setTimeout(resolve, delayMs));
}
