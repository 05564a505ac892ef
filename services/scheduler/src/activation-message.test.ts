import { expect, test } from '@jest/globals';
import type { NewRun } from '@ironflow/database';
import { activationSchema, limits, parseSubject } from '@ironflow/schema';
import type { StoredEvent } from '@ironflow/schema';
import { activationOf, activationsOfEvent } from './activation-message.js';

const scope = { environmentId: '0190a000-0000-7000-8000-000000000001', project: 'acme', env: 'prod' };
const run: NewRun = {
  id: '0190a000-0000-7000-8000-0000000000bb',
  environmentId: scope.environmentId,
  eventId: '0190a000-0000-7000-8000-0000000000aa',
  appId: 'shop',
  functionId: 'ship',
  functionHash: 'h',
  mode: 'pull',
  status: 'queued',
  correlationId: 'root',
  traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`,
};
function eventWith(data: string): StoredEvent {
  const base = { id: run.eventId, scope, name: 'order.placed', source: 'http' as const };
  return { ...base, data, receivedAtMs: 1, correlationId: 'root', awaited: true };
}
function bodyOf(data: string) {
  const [activation] = activationsOfEvent(eventWith(data), [run]);
  return activationSchema.parse(JSON.parse(String(activation?.publication.data)));
}

test('an activation names its run, carries the event as it was stored, and nothing of who waits for it', () => {
  const { scope: _scope, awaited: _awaited, ...event } = eventWith('{"a":"\\u0000\\"ü"}');
  expect(bodyOf(event.data)).toEqual({ runId: run.id, scope, event });
});

test.each([
  ['at the limit', 'x'.repeat(limits.activationEventBytesMax), true],
  ['above it', 'x'.repeat(limits.activationEventBytesMax + 1), false],
  ['above it in bytes though not in characters', 'ü'.repeat(limits.activationEventBytesMax / 2 + 1), false],
])('an event %s travels only if it may', (_, data, travels) => {
  expect(bodyOf(data).event !== undefined).toBe(travels);
});

test('an event that starts very many runs is not copied into all of them', () => {
  const copied = activationsOfEvent(eventWith('x'.repeat(100_000)), Array<NewRun>(1_000).fill(run));
  expect(String(copied[0]?.publication.data).length).toBeLessThan(1_000);
});

test('its subject and headers tell the run, its mode and its trace', () => {
  const [activation] = activationsOfEvent(eventWith('{}'), [run]);
  expect(parseSubject(activation!.publication.subject)).toEqual({
    kind: 'activation',
    project: 'acme',
    env: 'prod',
    mode: 'pull',
    appId: 'shop',
    functionId: 'ship',
    runId: run.id,
  });
  expect(activation!.publication.headers).toMatchObject({
    traceparent: run.traceparent,
    'Ironflow-Correlation-Id': 'root',
    'Ironflow-Causation-Id': run.eventId,
  });
});

test('one from a sweep goes to the same subject', () => {
  const fromEvent = activationsOfEvent(eventWith('{}'), [run])[0]!;
  expect(activationOf(fromEvent.run).publication.subject).toBe(fromEvent.publication.subject);
});
