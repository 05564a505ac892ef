import { randomBytes, randomUUID } from 'node:crypto';
import { afterAll, expect, test } from '@jest/globals';
import { connectJetStream } from '@ironflow/jetstream';
import { createId, parseSubject, subjectFilters } from '@ironflow/schema';
import type { Scope, StoredEvent } from '@ironflow/schema';
import { createLogger, createMetrics } from '@ironflow/service';
import { eventually, sharedNats, stopSharedServers } from '@ironflow/testing';
import { createPublication } from './publication.js';

afterAll(stopSharedServers);

test('an event behind a thousand of another environment is published among the first of them, and none is lost', async () => {
  const jetstream = await connectJetStream({
    url: (await sharedNats()).url,
    name: 'ingest-test',
    replicas: 1,
  });
  const metrics = createMetrics({ service: 'ingest' });
  const logger = createLogger({ service: 'ingest', level: 'silent' });
  const publication = createPublication({ jetstream, metrics, logger });
  const projects: (string | undefined)[] = [];
  jetstream.connection.listen(subjectFilters.everyEvent, ({ subject }) => {
    projects.push(parseSubject(subject)?.project);
  });
  await jetstream.connection.nats.flush();
  const flood = Array.from({ length: 1_000 }, () => publication.publish(eventOf(flooding)));
  await publication.publish(eventOf(neighbour));
  await Promise.all(flood);
  await eventually(() => expect(projects).toHaveLength(1_001));
  expect(projects.indexOf('neighbour')).toBeLessThan(300);
  await publication.stop();
  await metrics.stop();
  await jetstream.close();
});

const scopeOf = (project: string): Scope => ({ environmentId: randomUUID(), project, env: 'prod' });
const flooding = scopeOf('flooding');
const neighbour = scopeOf('neighbour');

function eventOf(scope: Scope): StoredEvent {
  const id = createId(Date.now(), randomBytes(10));
  const [name, data, source] = ['order.placed', '{}', 'http' as const];
  return { id, scope, name, data, source, receivedAtMs: Date.now(), correlationId: id };
}
