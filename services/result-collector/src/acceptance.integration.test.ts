import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createCollectorStore } from '@ironflow/database';
import type { CollectorStore, NewRun } from '@ironflow/database';
import { subjects } from '@ironflow/schema';
import type { JournalEntry } from '@ironflow/schema';
import { createLogger, createMetrics, systemClock } from '@ironflow/service';
import { createPlatform } from '../test/collector-platform.js';
import type { Platform } from '../test/collector-platform.js';
import { completedStep, messageOf } from '../test/journal.js';
import { acceptBatch, createAcceptance } from './acceptance.js';
import type { AcceptanceOptions } from './acceptance.js';
import { createCollectorMetrics } from './collector-metrics.js';
import { createDeadLetters } from './dead-letters.js';
import type { PlacedMessage } from './progress.js';

let platform: Platform;
let real: CollectorStore;

beforeAll(async () => {
  platform = await createPlatform();
  real = createCollectorStore(platform.service);
}, 60_000);
afterAll(() => platform.close());

/** `store`: the real one, perhaps with a failure at a certain moment. */
function optionsWith(store: CollectorStore): AcceptanceOptions {
  const logger = createLogger({ service: 'result-collector', level: 'silent' });
  const metrics = createCollectorMetrics(createMetrics({ service: 'result-collector' }));
  const { publisher, journal } = platform.jetstream;
  const deadLetters = createDeadLetters({ store, publisher, metrics, logger, clock: systemClock });
  return { store, journal, deadLetters, logger };
}

function placed({ id, environmentId }: NewRun, entry: JournalEntry, sequence = 1): PlacedMessage {
  const message = messageOf([entry], { runId: id, environmentId, functionId: 'ship' });
  const subject = subjects.journal(platform.ours, id, 'step');
  const data = Buffer.from(JSON.stringify(message));
  return { sequence, message, delivered: { subject, data, sequence, storedAtMs: 1 } };
}

const positionOf = async (run: NewRun) => (await real.positions([run.id])).get(run.id)!;
const lettersOf = (run: NewRun) =>
  platform.service.prisma.deadLetter.findMany({
    where: { subject: subjects.journal(platform.ours, run.id, 'step') },
  });

test('what one commit has accepted is known though the next one fails, and is not applied again', async () => {
  const runs = await platform.startRuns(platform.ours, 700);
  const batch = runs.map((run, index) => placed(run, completedStep('a'), index + 1));
  let calls = 0;
  const failing: CollectorStore = {
    ...real,
    apply: (progresses) => {
      calls += 1;
      return calls === 2 ? Promise.reject(new Error('the connection broke')) : real.apply(progresses);
    },
  };
  const acceptance = createAcceptance();
  await expect(acceptBatch(optionsWith(failing), batch, acceptance)).rejects.toThrow('the connection broke');
  expect(acceptance.accepted).toHaveLength(real.applyMax);
  await acceptBatch(optionsWith(failing), batch, acceptance);
  expect(acceptance.accepted).toHaveLength(700);
  expect(acceptance.present).toEqual([]);
});

test('what PostgreSQL refuses is a dead letter before its run fails', async () => {
  const [run] = await platform.startRuns(platform.ours, 1);
  const batch = [placed(run!, completedStep('a', 'no json'))];
  const dying: CollectorStore = {
    ...real,
    apply: (progresses) =>
      progresses[0]!.status === 'failed' ? Promise.reject(new Error('killed')) : real.apply(progresses),
  };
  await expect(acceptBatch(optionsWith(dying), batch, createAcceptance())).rejects.toThrow('killed');
  expect((await positionOf(run!)).status).toBe('queued');
  expect(await lettersOf(run!)).toMatchObject([
    { reason: 'refused_by_database', environmentId: platform.ours.environmentId },
  ]);
  // Whoever is delivered it next ends the run, and keeps no second letter.
  const acceptance = createAcceptance();
  await acceptBatch(optionsWith(real), batch, acceptance);
  expect(acceptance.outcomes.get(1)).toBe('refused');
  expect((await positionOf(run!)).status).toBe('failed');
  expect(await lettersOf(run!)).toHaveLength(1);
});

test('an entry that was only read from the journal and is refused is left to whom it is delivered', async () => {
  const [run] = await platform.startRuns(platform.ours, 1);
  const { delivered: _delivered, ...read } = placed(run!, completedStep('a', 'no json'));
  const acceptance = createAcceptance();
  await acceptBatch(optionsWith(real), [read], acceptance);
  expect(acceptance.outcomes.get(1)).toBe('unsettled');
  expect((await positionOf(run!)).status).toBe('queued');
  expect(await lettersOf(run!)).toEqual([]);
});

test('a letter is seen by the environment of its subject, and by no other that its body names', async () => {
  const [run] = await platform.startRuns(platform.ours, 1);
  const stray = placed(run!, completedStep('a'));
  const { environmentId } = platform.theirs;
  const message = { ...stray.message, environmentId };
  const { deadLetters } = optionsWith(real);
  await deadLetters.keep([{ lost: stray.delivered!, message, reason: 'without_run' }]);
  expect(await lettersOf(run!)).toMatchObject([{ reason: 'without_run', environmentId: null }]);
});

test('what was accepted and trimmed while its journal was read makes no branch of what follows it', async () => {
  const [run] = await platform.startRuns(platform.ours, 1);
  const first = placed(run!, completedStep('a'), 1);
  const second = placed(run!, completedStep('b'), 2);
  second.message.prev = 1;
  const options = optionsWith(real);
  const trimming: AcceptanceOptions = {
    ...options,
    journal: {
      after: async () => {
        await acceptBatch(options, [first], createAcceptance());
        return [{ sequence: second.sequence, message: second.message, messageId: '' }];
      },
    },
  };
  const acceptance = createAcceptance();
  await acceptBatch(trimming, [second], acceptance);
  expect(acceptance.outcomes.get(2)).toBe('accepted');
  expect((await positionOf(run!)).journalSeq).toBe(2);
});
