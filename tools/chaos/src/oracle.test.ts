/** Each rule against facts in which its one violation is planted; what the oracle does not find there it does not find at all. */
import { expect, test } from '@jest/globals';
import type { LedgerLine } from '@ironflow/bench';
import type { EventFact, Facts, RunFact, StepFact } from './facts.js';
import { judge } from './oracle.js';

const event = (over: Partial<EventFact> = {}): EventFact => ({
  id: 'e1',
  name: 'chaos.push.steps',
  data: { key: 'event 1', input: { n: 4, stepMs: [1, 1, 1] } },
  source: 'http',
  functionId: null,
  rerunOf: null,
  receivedAtMs: 1_000,
  ...over,
});
const run = (over: Partial<RunFact> = {}): RunFact => ({
  id: 'r1',
  eventId: 'e1',
  functionId: 'steps-push',
  status: 'completed',
  skipReason: null,
  joinedRunId: null,
  output: 7,
  error: null,
  buildId: null,
  notCompensated: [],
  failures: 0,
  createdAtMs: 1_001,
  endedAtMs: 1_500,
  ...over,
});
const line = (over: Partial<LedgerLine> = {}): LedgerLine => ({
  what: 'begun',
  run: 'r1',
  step: 'step 0',
  attempt: 1,
  atMs: 1_100,
  ...over,
});
const step = (over: Partial<StepFact> = {}): StepFact => ({
  runId: 'r1',
  stepId: 'step 0',
  attempt: 1,
  type: 'run',
  status: 'completed',
  dueAtMs: null,
  awaitedEventId: null,
  ...over,
});
const taken = {
  key: 'event 1',
  name: 'chaos.push.steps',
  id: 'e1',
  sentAtMs: 900,
  takenAtMs: 1_000,
  isProbe: true,
};
const nothing = { events: [taken], repetitions: [], reruns: [], failures: [] };
/** A schedule of two seconds, each of which fired. */
const fired = ['1970-01-01T00:00:00.000Z', '1970-01-01T00:00:01.000Z'].map((time, index) =>
  line({ what: 'fired', run: `f${index}`, step: time }),
);

function facts(over: Partial<Facts> = {}): Facts {
  return {
    accepted: nothing,
    ledger: [line(), ...fired],
    events: [event()],
    runs: [run()],
    steps: [step()],
    deadLetters: [],
    stored: new Map([['r1 step 0', 1_200]]),
    journal: new Map([['r1 step 0', 1_200]]),
    endsHeard: [{ runId: 'r1', status: 'completed' }],
    messages: [],
    claims: [],
    operations: [],
    breakerChanges: [],
    faults: [],
    wipedUntilMs: 0,
    leftovers: [],
    deaths: [],
    schedule: { fromMs: 0, untilMs: 1_000 },
    ...over,
  };
}
const rulesOf = (over: Partial<Facts>) => judge(facts(over)).map(({ rule }) => rule);

test('where everything is as it should be nothing is found', () => {
  expect(judge(facts())).toEqual([]);
});

test('an event that was answered and is not there, or is there twice', () => {
  expect(rulesOf({ events: [], runs: [] })).toContain('an accepted event is lost');
  const twice = [event(), event({ id: 'e2' })];
  expect(rulesOf({ events: twice, runs: [run(), run({ id: 'r2', eventId: 'e2' })] })).toEqual([
    'an event is stored twice',
  ]);
  const repetitions = [{ key: 'event 1', first: 'e1', again: 'e2' }];
  expect(rulesOf({ accepted: { ...nothing, repetitions } })).toEqual([
    'a repeated request stored another event',
  ]);
});

test('a source that showed nothing, though runs completed', () => {
  const rule = ['nothing was observed'];
  expect(rulesOf({ endsHeard: [] })).toEqual(rule);
  expect(rulesOf({ stored: new Map() })).toEqual(rule);
  expect(rulesOf({ journal: new Map() })).toEqual(rule);
  expect(rulesOf({ journal: new Map(), wipedUntilMs: 10_000 })).toEqual([]);
});

test('an event without its run, with a run too many, and a run without its event', () => {
  expect(rulesOf({ runs: [], endsHeard: [] })).toEqual(['an event has no run of a function that it matches']);
  expect(rulesOf({ runs: [run(), run({ id: 'r2' })] })).toEqual(['a run that should not be']);
  expect(rulesOf({ runs: [run(), run({ id: 'r2', functionId: 'map-push' })] })).toEqual([
    'a run that should not be',
  ]);
  expect(rulesOf({ runs: [run(), run({ id: 'r2', eventId: 'e9' })] })).toEqual(['a run without its event']);
});

test('a run that has not ended, ended otherwise, or says something else', () => {
  const endsHeard: Facts['endsHeard'] = [];
  expect(rulesOf({ runs: [run({ status: 'waiting', endedAtMs: null })], endsHeard })).toEqual([
    'a run has ended otherwise than it should',
    'a run has not ended',
  ]);
  expect(rulesOf({ runs: [run({ status: 'cancelled' })], endsHeard })).toEqual([
    'a run has ended otherwise than it should',
  ]);
  expect(rulesOf({ runs: [run({ output: 8 })] })).toEqual(['a run has another output than it should']);
});

test('a skip by another rule than its own', () => {
  const events = [event({ name: 'chaos.push.fan-out', data: { key: 'event 1', input: { total: 10 } } })];
  const fanned = ['push', 'pull'].flatMap((mode) => [
    run({ id: `a ${mode}`, functionId: `every-order-${mode}`, output: 10 }),
    run({
      id: `b ${mode}`,
      functionId: `unreadable-order-${mode}`,
      status: 'skipped',
      skipReason: 'condition_error: x',
    }),
  ]);
  const over = { events, endsHeard: [{ runId: 'a push', status: 'completed' }], ledger: fired };
  expect(rulesOf({ ...over, runs: fanned })).toEqual([]);
  const otherwise = fanned.map((one) => ({ ...one, skipReason: one.skipReason && 'paused' }));
  expect(rulesOf({ ...over, runs: otherwise })).toEqual([
    'a run was skipped by another rule',
    'a run was skipped by another rule',
  ]);
});

test('an event that a run sent and that is lost, or was sent twice', () => {
  const parent = event({ name: 'chaos.push.send-events', data: { key: 'event 1', input: { count: 1 } } });
  const heard = (id: string) =>
    event({ id, name: 'chaos.push.heard', data: { key: 'r1 0', input: { index: 0 } } });
  const parentRun = run({ functionId: 'send-events-push', output: 1 });
  const child = (id: string, eventId: string) => run({ id, eventId, functionId: 'heard-push', output: 0 });
  expect(rulesOf({ events: [parent, heard('e2')], runs: [parentRun, child('r2', 'e2')] })).toEqual([]);
  expect(rulesOf({ events: [parent], runs: [parentRun] })).toEqual(['what a run sent is lost or doubled']);
  const both = [parentRun, child('r2', 'e2'), child('r3', 'e3')];
  expect(rulesOf({ events: [parent, heard('e2'), heard('e3')], runs: both })).toEqual([
    'an event is stored twice',
    'what a run sent is lost or doubled',
  ]);
});

test('a run that was repeated twice, or was to be and is not', () => {
  const rerun = (id: string) => event({ id, source: 'rerun', functionId: 'steps-push', rerunOf: 'r1' });
  const accepted = { ...nothing, reruns: [{ eventId: 'e2', runId: 'r2' }] };
  const runs = [run(), run({ id: 'r2', eventId: 'e2' })];
  expect(rulesOf({ events: [event(), rerun('e2')], runs, accepted })).toEqual([]);
  expect(rulesOf({ accepted })).toEqual(['an accepted event is lost']);
  const thrice = [...runs, run({ id: 'r3', eventId: 'e3' })];
  expect(rulesOf({ events: [event(), rerun('e2'), rerun('e3')], runs: thrice, accepted })).toEqual([
    'a run was repeated twice',
  ]);
});

test('a step that begins once its result was acknowledged', () => {
  expect(rulesOf({ ledger: [line(), line({ atMs: 1_150 }), ...fired] })).toEqual([]);
  expect(rulesOf({ ledger: [line(), line({ atMs: 1_201 }), ...fired] })).toEqual([
    'a step began after its result was acknowledged',
  ]);
});

test('a step that begins before the result of the one before is stored', () => {
  const next = (atMs: number) => line({ step: 'step 1', atMs });
  expect(rulesOf({ ledger: [line(), next(1_200), ...fired] })).toEqual([]);
  expect(rulesOf({ ledger: [line(), next(1_190), ...fired] })).toEqual([
    'a step began before the result of the one before was stored',
  ]);
});

test('a wait that is over early, from the first handler that came to it to the first that went past it', () => {
  const asked = (atMs: number) => line({ what: 'asked', step: 'nap', atMs, forMs: 500 });
  const passed = (atMs: number) => line({ what: 'passed', step: 'nap', atMs });
  // A replay comes to it again, and that says nothing.
  expect(rulesOf({ ledger: [asked(1_000), asked(1_490), passed(1_500), ...fired] })).toEqual([]);
  expect(rulesOf({ ledger: [asked(1_000), passed(1_490), passed(1_600), ...fired] })).toEqual([
    'a wait was over early',
  ]);
  const until = line({ what: 'asked', step: 'nap', atMs: 1_000, untilMs: 1_300 });
  expect(rulesOf({ ledger: [until, passed(1_290), ...fired] })).toEqual(['a wait was over early']);
});

test('a retry that begins before it is due', () => {
  const steps = [step({ status: 'errored', dueAtMs: 1_300 }), step({ attempt: 2 })];
  const stored = new Map([['r1 step 0', 1_400]]);
  const retried = (atMs: number) => [line(), line({ attempt: 2, atMs }), ...fired];
  expect(rulesOf({ steps, stored, ledger: retried(1_300) })).toEqual([]);
  expect(rulesOf({ steps, stored, ledger: retried(1_290) })).toEqual(['a retry began early']);
});

test('an end that was told and is another, or is none', () => {
  expect(rulesOf({ endsHeard: [{ runId: 'r1', status: 'failed' }] })).toEqual(['an end was not final']);
  expect(rulesOf({ endsHeard: [{ runId: 'r9', status: 'completed' }] })).toEqual(['an end was not final']);
});

test('an event that resolves two waits of a run, and two runs', () => {
  const first = step({ stepId: 'paid 0', awaitedEventId: 'e5' });
  expect(rulesOf({ steps: [first, step({ stepId: 'paid 1', awaitedEventId: 'e5' })] })).toEqual([
    'an event resolved two waits of a run',
  ]);
  expect(rulesOf({ steps: [first, step({ runId: 'r2', stepId: 'paid 0', awaitedEventId: 'e5' })] })).toEqual(
    [],
  );
});

test('a letter that nobody expects, and a failure without one', () => {
  const letter = { reason: 'run_failed', detail: '', runId: 'r1' };
  const failing = {
    events: [event({ name: 'chaos.push.throw' })],
    runs: [run({ functionId: 'throw-push', status: 'failed' })],
    endsHeard: [],
  };
  expect(rulesOf({ ...failing, deadLetters: [letter] })).toEqual([]);
  expect(rulesOf({ ...failing, deadLetters: [] })).toEqual(['a failed run left no dead letter']);
  expect(rulesOf({ ...failing, deadLetters: [letter, letter] })).toEqual([
    'a dead letter that should not be',
  ]);
  expect(rulesOf({ deadLetters: [{ ...letter, reason: 'unreadable' }] })).toEqual([
    'a dead letter that should not be',
  ]);
});

/** Three effects that are undone, the last one first; that in the middle cannot be. */
function saga(over: { registers?: string; status?: string; lines?: LedgerLine[]; steps?: StepFact[] } = {}) {
  const { registers = 'before', status = 'failed' } = over;
  const input = { effects: ['charge', 'post', 'charge'], registers, ending: status, afterMs: 0 };
  const names = ['charge 0', 'post 1', 'charge 2'];
  const recorded = names.flatMap((name, index) => {
    const undo = { stepId: `compensate(${name})`, type: 'compensate' };
    return [
      step({ stepId: name }),
      step({ ...undo, attempt: 0, status: 'registered' }),
      step({ ...undo, status: index === 1 ? 'failed' : 'completed' }),
    ];
  });
  const journal = new Map(
    names.flatMap((name, index) => [
      [`r1 compensate(${name}) 0`, 1_100 + index * 20],
      [`r1 ${name}`, 1_119 + index * 20],
      [`r1 compensate(${name})`, 1_300 - index * 20],
    ]),
  );
  const lines = names.flatMap((name, index) => {
    const undo = { step: `compensate(${name})` };
    const begun = line({ ...undo, atMs: 1_285 - index * 20 });
    const did = line({ step: name, atMs: 1_105 + index * 20 });
    return index === 1
      ? [did, begun]
      : [did, begun, line({ ...undo, what: 'ended', atMs: 1_290 - index * 20 })];
  });
  return {
    events: [event({ name: 'chaos.push.saga', data: { key: 'event 1', input } })],
    runs: [run({ functionId: 'saga-push', status, notCompensated: ['compensate(post 1)'] })],
    ledger: [...(over.lines ?? lines), ...fired],
    steps: over.steps ?? recorded,
    deadLetters: status === 'failed' ? [{ reason: 'run_failed', detail: '', runId: 'r1' }] : [],
    endsHeard: [{ runId: 'r1', status }],
    stored: journal,
    journal,
  };
}

test('what a run has done and does not undo, undoes twice, or undoes without having stopped', () => {
  expect(judge(facts(saga()))).toEqual([]);
  expect(judge(facts(saga({ registers: 'after' })))).toEqual([]);
  const { ledger, steps, runs } = saga();
  const without = (what: string) =>
    ledger.filter((one) => one.what !== what || one.step !== 'compensate(charge 0)');
  const notOnce = ['what was registered is not undone, or not recorded once'];
  expect(rulesOf({ ...saga(), ledger: without('ended') })).toEqual(notOnce);
  const lost = steps.filter(({ stepId, attempt }) => stepId !== 'compensate(charge 0)' || attempt === 0);
  expect(rulesOf({ ...saga(), steps: lost })).toEqual(notOnce);
  const again = step({ stepId: 'compensate(charge 0)', attempt: 2, type: 'compensate' });
  expect(rulesOf({ ...saga(), steps: [...steps, again] })).toEqual(notOnce);
  expect(rulesOf({ ...saga(), runs: [{ ...runs[0]!, notCompensated: [] }] })).toEqual([
    'what could not be undone is not listed',
  ]);
  const all = ['compensate(post 1)', 'compensate(charge 0)'];
  expect(rulesOf({ ...saga(), runs: [{ ...runs[0]!, notCompensated: all }] })).toEqual([
    'what can be undone was given up',
  ]);
  expect(
    rulesOf(saga({ status: 'completed' })).every((rule) => rule === 'a run that completed undid something'),
  ).toBe(true);
  expect(rulesOf(saga({ status: 'completed' }))).toHaveLength(3);
});

test('an effect that nothing undoes, and one that begins before that is stored', () => {
  const { ledger, steps, journal } = saga();
  const unregistered = steps.filter(({ stepId }) => stepId !== 'compensate(charge 0)');
  expect(rulesOf({ ...saga({ registers: 'after' }), steps: unregistered })).toEqual([
    'an effect has nothing that undoes it',
  ]);
  const late = new Map([...journal, ['r1 compensate(charge 0) 0', 1_110] as const]);
  expect(rulesOf({ ...saga(), journal: late })).toEqual(['an effect has nothing that undoes it']);
  // What NATS has lost is not the platform's fault.
  expect(rulesOf({ ...saga(), journal: late, ledger, wipedUntilMs: 5_000 })).toEqual([]);
});

test('what is undone before what came after it is', () => {
  const { ledger } = saga();
  const early = ledger.map((one) => (one.step === 'compensate(charge 0)' ? { ...one, atMs: 1_270 } : one));
  expect(rulesOf({ ...saga(), ledger: early })).toEqual(['something was undone before what came after it']);
});

test('a message that is told twice, not at all, or out of its order', () => {
  const publishing = {
    events: [event({ name: 'chaos.push.publish', data: { key: 'event 1', input: { count: 2 } } })],
    runs: [run({ functionId: 'publish-push', output: 2 })],
  };
  const first = { id: '9', key: 'r1 0' };
  const second = { id: '10', key: 'r1 1' };
  const published = (messages: Facts['messages'], wipedUntilMs = 0) =>
    rulesOf({ ...publishing, messages, wipedUntilMs });
  expect(published([first, second])).toEqual([]);
  expect(published([first])).toEqual(['what a run published was not told once']);
  expect(published([first, second, { ...first, id: '11' }])).toEqual([
    'what a run published was not told once',
  ]);
  expect(published([second, first])).toEqual(['a message was told out of its order']);
  expect(published([first], 5_000)).toEqual([]);
});

test('a run that is pinned and executed by another build, from its first record on', () => {
  const runs = [run({ buildId: 'blue' })];
  const by = (build: string, atMs: number) => line({ step: 'step 2', build, atMs });
  const journal = new Map([['r1 step 0', 1_200]]);
  expect(rulesOf({ runs, journal, ledger: [by('blue', 1_300), ...fired] })).toEqual([]);
  expect(rulesOf({ runs, journal, ledger: [by('green', 1_190), ...fired] })).toEqual([]);
  const other = ['a pinned run was executed by another build'];
  expect(rulesOf({ runs, journal, ledger: [by('green', 1_300), ...fired] })).toEqual(other);
  expect(rulesOf({ runs, journal, ledger: [line({ step: 'step 2', atMs: 1_300 }), ...fired] })).toEqual(
    other,
  );
});

test('a large output that was accepted and is left, and one of an attempt that was lost', () => {
  const claims = [{ runId: 'r1', stepId: 'step 0' }];
  expect(rulesOf({ claims })).toEqual(['a large output was accepted and is left']);
  expect(rulesOf({ claims, ledger: [line(), line({ atMs: 1_150 }), ...fired] })).toEqual([]);
});

test('a schedule that fired twice, or not at all', () => {
  const twice = [line(), ...fired, { ...fired[0]!, run: 'f9' }];
  expect(rulesOf({ ledger: twice })).toEqual(['the schedule did not fire as it should']);
  expect(rulesOf({ ledger: [line()] })).toEqual(['the schedule did not fire as it should']);
});

test('what is left over, a process that ended, and a request that failed', () => {
  expect(rulesOf({ leftovers: [{ what: 'timers', count: 1, examples: ['r1'] }] })).toEqual([
    'something is left over',
  ]);
  expect(rulesOf({ deaths: ['ingest 0'] })).toEqual(['a process ended by itself']);
  expect(rulesOf({ accepted: { ...nothing, failures: ['event 1: refused'] } })).toEqual(['a request failed']);
});
