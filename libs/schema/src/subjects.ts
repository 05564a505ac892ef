/**
 * The only file that spells a NATS subject. Every builder has its parser; the grammar of the parts is in identifiers.ts,
 * so no part can contain a dot (event names, always last, excepted) or a wildcard.
 */
import type { Scope } from './identifiers.js';
import { laneToken, parseLane } from './lane.js';
import type { Lane } from './lane.js';

type Place = Pick<Scope, 'project' | 'env'>;
export type RunMode = 'push' | 'pull';

const prefix = (place: Place): string => `ironflow.${place.project}.${place.env}`;

/** Pull runs have lanes of their own anyway. */
const wayOf = ({ mode, bulk }: { mode: RunMode; bulk?: boolean }): string =>
  mode === 'push' && bulk === true ? 'bulk' : mode;

export const subjects = {
  ingest: (place: Place, eventName: string) => `${prefix(place)}.ingest.${eventName}`,
  /** Where whoever has credentials of the environment publishes its events: all that its account lets it. */
  ingestOf: (place: Place) => `${prefix(place)}.ingest.>`,
  /**
   * What the account of an environment makes of the subject above. In no stream: headers of its messages are a tenant's, and
   * JetStream would obey them.
   */
  directIngest: (place: Place, eventName: string) =>
    `direct.${place.project}.${place.env}.ingest.${eventName}`,
  directIngestOf: (place: Place) => `direct.${place.project}.${place.env}.ingest.>`,
  event: (place: Place, eventName: string) => `${prefix(place)}.events.${eventName}`,
  activation: (
    place: Place,
    run: Lane & { mode: RunMode; bulk?: boolean; functionId: string; runId: string },
  ) => `${prefix(place)}.steps.${wayOf(run)}.${laneToken(run)}.${run.functionId}.${run.runId}`,
  /** Push activations of runs of an environment's flood: the filter of its own consumer. */
  bulkActivationsOf: (place: Place) => `${prefix(place)}.steps.bulk.>`,
  /** Every pull activation of one lane: the filter of that lane's own consumer. */
  pullActivationsOf: (place: Place, lane: Lane) => `${prefix(place)}.steps.pull.${laneToken(lane)}.>`,
  journal: (place: Place, runId: string, last: 'step' | 'run') => `${prefix(place)}.results.${runId}.${last}`,
  /** A run's whole journal. Every append expects against exactly this filter: differing ones are not safe on R3. */
  journalOf: (place: Place, runId: string) => `${prefix(place)}.results.${runId}.>`,
  cancellation: (place: Place, runId: string) => `${prefix(place)}.cancel.${runId}`,
  deadLetter: (place: Place, tail: string) => `${prefix(place)}.dlq.${tail}`,
  runNotice: (place: Place, runId: string, what: RunNoticeKind) =>
    `public.${place.project}.${place.env}.system.run.${runId}.${what}`,
  /** Waits of this run are to be looked at. */
  waitsNotice: (place: Place, runId: string) =>
    `public.${place.project}.${place.env}.system.waits.${runId}.due`,
  /** Slots of this environment were given back. */
  slotsNotice: (place: Place, environmentId: string) =>
    `public.${place.project}.${place.env}.system.slots.${environmentId}.freed`,
  /** This environment has activations on its lane for runs of a flood. */
  bulkNotice: (place: Place, environmentId: string) =>
    `public.${place.project}.${place.env}.system.bulk.${environmentId}.waiting`,
  /** Quotas of this environment were set. */
  quotasNotice: (place: Place, environmentId: string) =>
    `public.${place.project}.${place.env}.system.quotas.${environmentId}.set`,
  eventRoutedNotice: (place: Place, eventId: string) =>
    `public.${place.project}.${place.env}.system.event.${eventId}.routed`,
  eventScheduledNotice: (place: Place, eventId: string) =>
    `public.${place.project}.${place.env}.system.event.${eventId}.scheduled`,
  /** A breaker has changed; its id is `circuitId`. */
  circuitNotice: (place: Place, circuitId: string, change: CircuitChange) =>
    `public.${place.project}.${place.env}.system.breaker.${circuitId}.${change}`,
  /** A config document of this environment has changed. */
  configNotice: (place: Place, environmentId: string) =>
    `public.${place.project}.${place.env}.system.config.${environmentId}.changed`,
  /** A message of a topic; with a pattern in place of the topic, the filter of its messages. */
  topicMessage: (place: Place, topic: string) => `public.${place.project}.${place.env}.topic.${topic}`,
  /** In no stream, as it is of use at once or never: an executor of a version that knows of lanes for floods is there. */
  executorNotice: 'system.executors.present',
  /** The same: who may do what in an environment has changed. */
  accessNotice: 'system.access.changed',
  /** All messages of an environment, in whatever stream, but for what is public. */
  messagesOf: (place: Place) => `${prefix(place)}.>`,
  /** All notices of an environment and all messages of its topics. */
  publicOf: (place: Place) => `public.${place.project}.${place.env}.>`,
  /** Every notice of one run. */
  runNoticesOf: (place: Place, runId: string) => `public.${place.project}.${place.env}.system.run.${runId}.*`,
} as const;

export const subjectFilters = {
  everyIngested: 'ironflow.*.*.ingest.>',
  everyDirectIngested: 'direct.*.*.ingest.>',
  everyEvent: 'ironflow.*.*.events.>',
  everyActivation: 'ironflow.*.*.steps.>',
  everyPushActivation: 'ironflow.*.*.steps.push.>',
  everyJournal: 'ironflow.*.*.results.>',
  everyRunEntry: 'ironflow.*.*.results.*.run',
  everyCancellation: 'ironflow.*.*.cancel.>',
  everyDeadLetter: 'ironflow.*.*.dlq.>',
  everyPublic: 'public.>',
  everyRunNotice: 'public.*.*.system.run.*.*',
  everyYieldedNotice: 'public.*.*.system.run.*.yielded',
  everyFailedNotice: 'public.*.*.system.run.*.failed',
  everyArmedNotice: 'public.*.*.system.run.*.armed',
  everyWaitsNotice: 'public.*.*.system.waits.*.due',
  everyCircuitNotice: 'public.*.*.system.breaker.*.*',
  everySlotsNotice: 'public.*.*.system.slots.*.freed',
  everyConfigNotice: 'public.*.*.system.config.*.changed',
  everyBulkNotice: 'public.*.*.system.bulk.*.waiting',
  everyQuotasNotice: 'public.*.*.system.quotas.*.set',
  everyEventRoutedNotice: 'public.*.*.system.event.*.routed',
  everyEventScheduledNotice: 'public.*.*.system.event.*.scheduled',
} as const;

/** `armed` is progress that came with a timer, of an activation that goes on. */
export const runNoticeKinds = [
  'progressed',
  'armed',
  'yielded',
  'completed',
  'failed',
  'cancelled',
  'skipped',
] as const;
export type RunNoticeKind = (typeof runNoticeKinds)[number];

/** `probed`: a probe succeeded, and it takes another one. `forced` and `reset` by an operator. */
export const circuitChanges = ['opened', 'probed', 'closed', 'forced', 'reset'] as const;
export type CircuitChange = (typeof circuitChanges)[number];

export type ParsedSubject =
  | ({ kind: 'ingest' | 'event'; eventName: string } & Place)
  | ({ kind: 'directIngest'; eventName: string } & Place)
  | ({ kind: 'activation'; mode: RunMode; bulk?: true; functionId: string; runId: string } & Lane & Place)
  | ({ kind: 'journal'; runId: string; last: 'step' | 'run' } & Place)
  | ({ kind: 'cancel'; runId: string } & Place)
  | ({ kind: 'deadLetter'; tail: string } & Place)
  | ({ kind: 'runNotice'; runId: string; what: RunNoticeKind } & Place)
  | ({ kind: 'waitsNotice'; runId: string } & Place)
  | ({ kind: 'slotsNotice'; environmentId: string } & Place)
  | ({ kind: 'bulkNotice' | 'configNotice' | 'quotasNotice'; environmentId: string } & Place)
  | ({ kind: 'eventRoutedNotice' | 'eventScheduledNotice'; eventId: string } & Place)
  | ({ kind: 'circuitNotice'; circuitId: string; change: CircuitChange } & Place)
  | ({ kind: 'topicMessage'; topic: string } & Place);

const subjectPattern = /^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*$/;
/** The one place of a character besides: between app and build. */
const lanePattern = /^(ironflow\.[^.]+\.[^.]+\.steps\.[^.]+\.[^.=]+)=/;

/** What a subject says, or `undefined` when it is none of ours. */
export function parseSubject(subject: string): ParsedSubject | undefined {
  // No part has a space or a wildcard in it: a filter is not a subject.
  if (!subjectPattern.test(subject.replace(lanePattern, '$1-'))) return undefined;
  const tokens = subject.split('.');
  const [root, project, env, kind, ...rest] = tokens;
  if (project === undefined || env === undefined || rest.length === 0) return undefined;
  const place = { project, env };
  if (root === 'public' && kind === 'topic') return { kind: 'topicMessage', topic: rest.join('.'), ...place };
  if (root === 'direct') {
    return kind === 'ingest' ? { kind: 'directIngest', eventName: rest.join('.'), ...place } : undefined;
  }
  if (root === 'public') return kind === 'system' ? parseNotice(place, rest) : undefined;
  if (root !== 'ironflow') return undefined;
  return parseMessage(place, kind, rest);
}

function parseMessage(place: Place, kind: string | undefined, rest: string[]): ParsedSubject | undefined {
  const [first, second] = rest;
  switch (kind) {
    case 'ingest':
      return { kind: 'ingest', eventName: rest.join('.'), ...place };
    case 'events':
      return { kind: 'event', eventName: rest.join('.'), ...place };
    case 'steps':
      return rest.length === 4 ? parseActivation(place, rest) : undefined;
    case 'results':
      if (rest.length !== 2 || (second !== 'step' && second !== 'run')) return undefined;
      return { kind: 'journal', runId: first!, last: second, ...place };
    case 'cancel':
      return rest.length === 1 ? { kind: 'cancel', runId: first!, ...place } : undefined;
    case 'dlq':
      return { kind: 'deadLetter', tail: rest.join('.'), ...place };
    default:
      return undefined;
  }
}

function parseActivation(place: Place, rest: string[]): ParsedSubject | undefined {
  const [word, token, functionId, runId] = rest;
  const lane = parseLane(token!);
  const way = ways[word!];
  if (lane === undefined || way === undefined) return undefined;
  return { kind: 'activation', ...way, ...lane, functionId: functionId!, runId: runId!, ...place };
}

const ways: Record<string, { mode: RunMode; bulk?: true }> = {
  push: { mode: 'push' },
  pull: { mode: 'pull' },
  bulk: { mode: 'push', bulk: true },
};

function parseNotice(place: Place, rest: string[]): ParsedSubject | undefined {
  const [noun, id, what] = rest;
  if (rest.length !== 3 || id === undefined) return undefined;
  if (noun === 'event' && what === 'routed') return { kind: 'eventRoutedNotice', eventId: id, ...place };
  if (noun === 'event' && what === 'scheduled')
    return { kind: 'eventScheduledNotice', eventId: id, ...place };
  if (noun === 'waits' && what === 'due') return { kind: 'waitsNotice', runId: id, ...place };
  if (noun === 'slots' && what === 'freed') return { kind: 'slotsNotice', environmentId: id, ...place };
  if (noun === 'bulk' && what === 'waiting') return { kind: 'bulkNotice', environmentId: id, ...place };
  if (noun === 'quotas' && what === 'set') return { kind: 'quotasNotice', environmentId: id, ...place };
  if (noun === 'config' && what === 'changed') return { kind: 'configNotice', environmentId: id, ...place };
  if (noun === 'breaker') {
    const change = circuitChanges.find((candidate) => candidate === what);
    return change === undefined ? undefined : { kind: 'circuitNotice', circuitId: id, change, ...place };
  }
  const known = runNoticeKinds.find((candidate) => candidate === what);
  return noun === 'run' && known !== undefined
    ? { kind: 'runNotice', runId: id, what: known, ...place }
    : undefined;
}
