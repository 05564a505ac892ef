/**
 * What a throttle let in, pass by pass, against what its rule says. Pure; whole microseconds.
 *
 * T1 Let `next` be when the one after the last is due. At `now` the j-th that a pass lets in may begin at
 *    max(next, now) + (j - burst)·spacing, and it is let in if that is at most `ahead` after now. So it is let in from
 *    next + (j - burst)·spacing - ahead on, and never if (j - burst)·spacing alone is more than `ahead`.
 * T2 Those of a key go in the order of the queue. Where some are left, they are asked again from half of `ahead` before the next one may
 *    begin, and not before.
 * T3 A pass has one time, which nobody stores: known is that it is between two others. It agrees with the rule if there is one time
 *    between them at which the rule lets in, of every key, those that were let in, and no more. What the platform remembers of a key
 *    tells that time if its bucket was empty, and that it was not if not.
 */
import type { RateRule } from './flow-rates.js';

export interface ThrottleRule extends RateRule {
  /** Added to each period. */
  onTheWayMs: number;
  /** So long before its time one may be let in, to begin then. */
  aheadMs: number;
}

export interface QueuedRun {
  runId: string;
  eventId: string;
  key: string;
  positionUs: number;
}

export interface ThrottlePass {
  /** Its time is not before this, and not after that. */
  fromUs: number;
  toUs: number;
  /** Those that came into the queue. */
  arrived: readonly QueuedRun[];
  admitted: ReadonlySet<string>;
  /** What was written of the lane of a key, one after the other. Blocked: there is no worker. */
  lanes: readonly { key: string; isBlocked: boolean; readyAtUs: number }[];
  /** What is remembered now, by key. */
  nextUs: ReadonlyMap<string, number>;
}

export interface ThrottleVerdict {
  passes: number;
  letIn: number;
  /** Passes of which the rule says otherwise. */
  differing: number;
  /** The first ones, in words. */
  differences: string[];
  /** Runs that were never let in. */
  waiting: number;
  /** The earliest time for which each run may have been let in. */
  beginsAtUs: Map<string, number>;
}

interface KeyQueue {
  waiting: QueuedRun[];
  nextUs: number;
  isBlocked: boolean;
}

/** When a pass may have been, as one key says. */
interface Window {
  fromUs: number;
  toUs: number;
}

const differencesMax = 5;
/** Times of Postgres are rounded to it. */
const resolutionUs = 1;
const always: Window = { fromUs: -Infinity, toUs: Infinity };

export function judgeThrottle(passes: readonly ThrottlePass[], rule: ThrottleRule): ThrottleVerdict {
  const queues = new Map<string, KeyQueue>();
  const verdict: ThrottleVerdict = {
    ...{ passes: passes.length, letIn: 0, differing: 0, differences: [], waiting: 0 },
    beginsAtUs: new Map(),
  };
  for (const [index, pass] of passes.entries()) {
    for (const { key } of pass.arrived) {
      if (!queues.has(key)) queues.set(key, { waiting: [], nextUs: -Infinity, isBlocked: false });
    }
    const asked = [...queues].map(([key, queue]) => ask(key, queue, pass, rule));
    const window = {
      fromUs: Math.max(pass.fromUs, ...asked.map(({ fromUs }) => fromUs)),
      toUs: Math.min(pass.toUs, ...asked.map(({ toUs }) => toUs)),
    };
    const problems = asked.flatMap(({ problem }) => problem ?? []);
    if (window.fromUs > window.toUs + resolutionUs) problems.push(describeMisfit(pass, asked));
    const letIn = asked.flatMap((one) => one.letIn);
    if (letIn.length < pass.admitted.size) problems.push('one was let in that was not in the queue');
    if (problems.length > 0) {
      verdict.differing += 1;
      verdict.differences.push(`pass ${index}: ${problems.join('; ')}`);
    }
    verdict.letIn += letIn.length;
    for (const { runId, afterUs, sooner } of letIn) {
      const beginsAtUs = Math.max(afterUs, window.fromUs) - sooner;
      verdict.beginsAtUs.set(runId, Math.max(window.fromUs, beginsAtUs));
    }
  }
  for (const { waiting } of queues.values()) verdict.waiting += waiting.length;
  return { ...verdict, differences: verdict.differences.slice(0, differencesMax) };
}

/** What a pass did with the queue of one key. */
interface Asked extends Window {
  key: string;
  letIn: LetIn[];
  left: number;
  problem: string | undefined;
}

/** It may begin `sooner` before the later one of `afterUs` and the pass, and not before the pass. */
interface LetIn {
  runId: string;
  afterUs: number;
  sooner: number;
}

/** Takes the queue to where it is after the pass, also where the rule says otherwise. */
function ask(key: string, queue: KeyQueue, pass: ThrottlePass, rule: ThrottleRule): Asked {
  const before = { ...queue, isEmpty: queue.waiting.length === 0 };
  const isLetIn = ({ runId }: QueuedRun): boolean => pass.admitted.has(runId);
  const waiting = inOrder([...queue.waiting, ...pass.arrived.filter((run) => run.key === key)]);
  const admitted = waiting.filter(isLetIn);
  const count = admitted.length;
  const lane = pass.lanes.findLast((one) => one.key === key);
  const rememberedUs = pass.nextUs.get(key);
  queue.waiting = waiting.filter((run) => !isLetIn(run));
  queue.nextUs = rememberedUs ?? before.nextUs;
  queue.isBlocked = lane?.isBlocked ?? (before.isBlocked && count === 0);
  const left = queue.waiting.length;

  const askedFromUs = before.isEmpty || before.isBlocked ? -Infinity : askedAgainUs(before.nextUs, rule);
  const byRule = queue.isBlocked ? always : admissionWindow({ ...before, count, left, askedFromUs }, rule);
  const byMemory = memoryWindow({ ...before, count, rememberedUs }, rule);
  const problems = [
    waiting.slice(0, count).every(isLetIn) ? [] : 'one was let in before another that came first',
    queue.isBlocked && count > 0 ? 'some were let in though there is no worker' : [],
    (rememberedUs === undefined) === (count === 0) ? [] : 'what is remembered is not what was let in',
    left === 0 || queue.isBlocked || isLaneRight(lane, queue.nextUs, { count, rule })
      ? []
      : 'its lane is not asked when the next one may begin',
  ].flat();
  return {
    key,
    letIn: admitted.map(({ runId }, index) => ({
      runId,
      afterUs: before.nextUs,
      sooner: (rule.burst - index - 1) * spacingUsOf(rule),
    })),
    left,
    fromUs: Math.max(byRule.fromUs, byMemory.fromUs),
    toUs: Math.min(byRule.toUs, byMemory.toUs),
    problem: problems.length === 0 ? undefined : `${key}: ${problems.join(', ')}`,
  };
}

function spacingUsOf({ periodMs, onTheWayMs, limit }: ThrottleRule): number {
  return ((periodMs + onTheWayMs) * 1_000) / limit;
}

/** By T1 and T2: when so many are let in, and the one after them is not. */
function admissionWindow(
  of: { nextUs: number; count: number; left: number; askedFromUs: number },
  rule: ThrottleRule,
): Window {
  const { nextUs, count, left, askedFromUs } = of;
  const letInFromUs = (place: number): number => {
    const laterUs = (place - rule.burst) * spacingUsOf(rule) - rule.aheadMs * 1_000;
    return laterUs > 0 ? Infinity : nextUs + laterUs;
  };
  return {
    fromUs: count === 0 ? -Infinity : Math.max(askedFromUs, letInFromUs(count)),
    toUs: left === 0 ? Infinity : Math.max(count === 0 ? askedFromUs : -Infinity, letInFromUs(count + 1)),
  };
}

/** By T3: a bucket that was not empty goes on, one that was begins with the pass. */
function memoryWindow(
  of: { nextUs: number; count: number; rememberedUs: number | undefined },
  rule: ThrottleRule,
): Window {
  const { nextUs, count, rememberedUs } = of;
  if (count === 0 || rememberedUs === undefined) return always;
  const passUs = rememberedUs - count * spacingUsOf(rule);
  if (Math.abs(passUs - nextUs) <= resolutionUs) return { fromUs: -Infinity, toUs: nextUs };
  return { fromUs: Math.max(passUs, nextUs), toUs: passUs };
}

/** When the one after the last may begin, less half of `ahead`. */
function askedAgainUs(nextUs: number, rule: ThrottleRule): number {
  return nextUs - (rule.burst - 1) * spacingUsOf(rule) - (rule.aheadMs * 1_000) / 2;
}

/** One of which nobody was let in may stay as it is. */
function isLaneRight(
  lane: ThrottlePass['lanes'][number] | undefined,
  nextUs: number,
  { count, rule }: { count: number; rule: ThrottleRule },
): boolean {
  if (lane === undefined) return count === 0;
  return Math.abs(lane.readyAtUs - askedAgainUs(nextUs, rule)) <= resolutionUs;
}

function inOrder(runs: QueuedRun[]): QueuedRun[] {
  return runs.sort((a, b) => a.positionUs - b.positionUs || (a.eventId < b.eventId ? -1 : 1));
}

/** Times from the earliest that the pass may have, in milliseconds. */
function describeMisfit({ fromUs, toUs }: ThrottlePass, asked: readonly Asked[]): string {
  const span = (window: Window): string =>
    [window.fromUs, window.toUs].map((us) => ((us - fromUs) / 1_000).toFixed(3)).join(' to ');
  const keys = asked.map(
    (one) => `${one.key} lets ${one.letIn.length} in and ${one.left} wait: ${span(one)}`,
  );
  return `no time fits (${span({ fromUs, toUs })}; ${keys.join('; ')})`;
}
