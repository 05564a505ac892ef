import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { eventNameSchema } from './identifiers.js';
import { parseSubject, runNoticeKinds, subjectFilters, subjects } from './subjects.js';

const anySlug = fc.stringMatching(/^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$/);
const anyId = fc.stringMatching(/^[A-Za-z0-9_-]{1,128}$/);
const anyUuid = fc.uuid();
const anyEventName = fc
  .array(fc.stringMatching(/^[A-Za-z0-9_-]{1,12}$/), { minLength: 1, maxLength: 8 })
  .map((tokens) => tokens.join('.'));
const place = fc.record({ project: anySlug, env: anySlug });

describe('what is built is parsed', () => {
  test('for events on their way in and stored ones', () => {
    fc.assert(
      fc.property(place, anyEventName, (where, eventName) => {
        expect(parseSubject(subjects.directIngest(where, eventName))).toEqual({
          kind: 'directIngest',
          ...where,
          eventName,
        });
        expect(parseSubject(subjects.ingest(where, eventName))).toEqual({
          kind: 'ingest',
          eventName,
          ...where,
        });
        expect(parseSubject(subjects.event(where, eventName))).toEqual({
          kind: 'event',
          eventName,
          ...where,
        });
      }),
    );
  });

  test('for activations', () => {
    const mode = fc.constantFrom('push' as const, 'pull' as const);
    const bare = fc.record({ mode, appId: anyId, functionId: anyId, runId: anyUuid });
    const buildId = anyId.map((id) => id.slice(0, 64));
    const run = fc.oneof(
      bare,
      fc.tuple(bare, buildId).map(([of, id]) => ({ ...of, buildId: id })),
    );
    fc.assert(
      fc.property(place, run, (where, activation) => {
        const subject = subjects.activation(where, activation);
        expect(parseSubject(subject)).toEqual({ kind: 'activation', ...activation, ...where });
        const filter = subjects.pullActivationsOf(where, activation);
        expect(matches(filter, subject)).toBe(activation.mode === 'pull');
        // No lane takes what is another's.
        const ofApp = subjects.pullActivationsOf(where, { appId: activation.appId });
        expect(matches(ofApp, subject)).toBe(activation.mode === 'pull' && !('buildId' in activation));
        expect(matches(subjectFilters.everyPushActivation, subject)).toBe(activation.mode === 'push');
      }),
    );
  });

  test('for activations of a flood, which its environment’s own filter takes and no other', () => {
    const run = fc.record({ appId: anyId, functionId: anyId, runId: anyUuid });
    fc.assert(
      fc.property(place, run, (where, of) => {
        const activation = { ...of, mode: 'push' as const, bulk: true };
        const subject = subjects.activation(where, activation);
        expect(parseSubject(subject)).toEqual({ kind: 'activation', ...activation, ...where });
        expect(matches(subjects.bulkActivationsOf(where), subject)).toBe(true);
        expect(matches(subjectFilters.everyPushActivation, subject)).toBe(false);
        const pull = { ...activation, mode: 'pull' as const };
        expect(subjects.activation(where, pull)).toBe(subjects.activation(where, { ...pull, bulk: false }));
      }),
    );
  });

  test('for journals, and one filter covers a run’s whole journal', () => {
    fc.assert(
      fc.property(place, anyUuid, fc.constantFrom('step' as const, 'run' as const), (where, runId, last) => {
        const subject = subjects.journal(where, runId, last);
        expect(parseSubject(subject)).toEqual({ kind: 'journal', runId, last, ...where });
        expect(matches(subjects.journalOf(where, runId), subject)).toBe(true);
        expect(matches(subjectFilters.everyRunEntry, subject)).toBe(last === 'run');
      }),
    );
  });

  test('for notices', () => {
    fc.assert(
      fc.property(place, anyUuid, fc.constantFrom(...runNoticeKinds), (where, id, what) => {
        const subject = subjects.runNotice(where, id, what);
        expect(parseSubject(subject)).toEqual({ kind: 'runNotice', runId: id, what, ...where });
        expect(matches(subjects.runNoticesOf(where, id), subject)).toBe(true);
        expect(matches(subjectFilters.everyRunNotice, subject)).toBe(true);
        expect(matches(subjectFilters.everyYieldedNotice, subject)).toBe(what === 'yielded');
        expect(matches(subjectFilters.everyArmedNotice, subject)).toBe(what === 'armed');
        const routed = subjects.eventRoutedNotice(where, id);
        expect(parseSubject(routed)).toEqual({ kind: 'eventRoutedNotice', eventId: id, ...where });
        const scheduled = subjects.eventScheduledNotice(where, id);
        expect(parseSubject(scheduled)).toEqual({ kind: 'eventScheduledNotice', eventId: id, ...where });
        expect(matches(subjectFilters.everyEventRoutedNotice, routed)).toBe(true);
        const waits = subjects.waitsNotice(where, id);
        expect(parseSubject(waits)).toEqual({ kind: 'waitsNotice', runId: id, ...where });
        const bulk = subjects.bulkNotice(where, id);
        expect(parseSubject(bulk)).toEqual({ kind: 'bulkNotice', environmentId: id, ...where });
        const config = subjects.configNotice(where, id);
        expect(parseSubject(config)).toEqual({ kind: 'configNotice', environmentId: id, ...where });
        expect(matches(subjectFilters.everyBulkNotice, bulk)).toBe(true);
        const quotas = subjects.quotasNotice(where, id);
        expect(parseSubject(quotas)).toEqual({ kind: 'quotasNotice', environmentId: id, ...where });
        expect(matches(subjectFilters.everyQuotasNotice, quotas)).toBe(true);
        expect(matches(subjectFilters.everyWaitsNotice, waits)).toBe(true);
        expect(matches(subjectFilters.everyRunNotice, waits)).toBe(false);
        const breaker = subjects.circuitNotice(where, 'f'.repeat(32), 'forced');
        const said = { kind: 'circuitNotice', circuitId: 'f'.repeat(32), change: 'forced', ...where };
        expect(parseSubject(breaker)).toEqual(said);
        expect(parseSubject(breaker.replace('forced', 'bent'))).toBeUndefined();
      }),
    );
  });

  test('for topics, whose filters stay within their environment', () => {
    fc.assert(
      fc.property(place, place, anyEventName, (where, elsewhere, topic) => {
        const subject = subjects.topicMessage(where, topic);
        expect(parseSubject(subject)).toEqual({ kind: 'topicMessage', topic, ...where });
        expect(matches(subjects.topicMessage(where, '>'), subject)).toBe(true);
        const isSame = where.project === elsewhere.project && where.env === elsewhere.env;
        expect(matches(subjects.topicMessage(elsewhere, '>'), subject)).toBe(isSame);
      }),
    );
  });

  test('for dead letters, whose tail is a subject of its own', () => {
    fc.assert(
      fc.property(place, anyEventName, (where, eventName) => {
        const tail = `events.${eventName}`;
        expect(parseSubject(subjects.deadLetter(where, tail))).toEqual({
          kind: 'deadLetter',
          tail,
          ...where,
        });
      }),
    );
  });
});

describe('what was not built here', () => {
  test('is no subject, whatever it is', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const parsed = parseSubject(text);
        if (parsed !== undefined) expect(text).toMatch(/^(ironflow|public)\.[A-Za-z0-9_.=-]+$/);
      }),
    );
  });

  test.each([
    '',
    'ironflow',
    'ironflow.p.e',
    'ironflow.p.e.events',
    'ironflow.p.e.events.',
    'ironflow.p.e.events..a',
    'ironflow.p.e.events.>',
    'ironflow.*.*.events.a',
    'ironflow.p.e.events.a b',
    'ironflow.p.e.steps.push.app.fn',
    'ironflow.p.e.steps.pushed.app.fn.run',
    'ironflow.p.e.steps.pull.app=.fn.run',
    'ironflow.p.e.steps.pull.=build.fn.run',
    'ironflow.p.e.steps.pull.app=build=more.fn.run',
    'ironflow.p.e.steps.pull.app.fn=build.run',
    'ironflow.p.e.events.a=b',
    'ironflow.p.e.steps.push.app.fn.run.more',
    'ironflow.p.e.results.run',
    'ironflow.p.e.results.run.other',
    'ironflow.p.e.cancel.run.more',
    'ironflow.p.e.nothing.a',
    'other.p.e.events.a',
    'public.p.e.entity.run.id.completed',
    'public.p.e.system.run.id.unheard-of',
    'public.p.e.system.event.id.completed',
    'public.p.e.system.run.id',
  ])('is refused: %j', (subject) => {
    expect(parseSubject(subject)).toBeUndefined();
  });

  test('an event name that the grammar takes never becomes another kind of subject', () => {
    fc.assert(
      fc.property(anyEventName, (name) => {
        expect(eventNameSchema.safeParse(name).success).toBe(true);
        expect(parseSubject(`ironflow.p.e.events.${name}`)?.kind).toBe('event');
      }),
    );
  });
});

/** As a NATS server matches: `*` is one token, a last `>` at least one. */
function matches(filter: string, subject: string): boolean {
  const tokens = subject.split('.');
  const wanted = filter.split('.');
  return (
    wanted.every((token, index) => {
      if (token === '>') return tokens.length > index;
      return token === '*' ? tokens[index] !== undefined : token === tokens[index];
    }) &&
    (wanted.at(-1) === '>' || wanted.length === tokens.length)
  );
}
