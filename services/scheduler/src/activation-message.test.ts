import { expect, test } from '@jest/globals';
import type { NewRun } from '@ironflow/database';
import { parseSubject } from '@ironflow/schema';
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
const event: StoredEvent = {
  ...{ id: run.eventId, scope, name: 'order.placed', source: 'http', data: '{"total":1}' },
  ...{ receivedAtMs: 1, correlationId: 'root', awaited: true },
};

test('an activation names its run, and nothing of its event travels with it', () => {
  const [activation] = activationsOfEvent(event, [run]);
  expect(JSON.parse(String(activation?.publication.data))).toEqual({ runId: run.id, scope });
});

test('its subject and headers tell the run, its mode and its trace', () => {
  const [activation] = activationsOfEvent(event, [run]);
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
  const fromEvent = activationsOfEvent(event, [run])[0]!;
  expect(activationOf(fromEvent.run).publication.subject).toBe(fromEvent.publication.subject);
});
