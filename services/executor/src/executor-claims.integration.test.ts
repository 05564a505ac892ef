import { beforeAll, describe, expect, test } from '@jest/globals';
import { claimFor, createExecutorStore } from '@ironflow/database';
import { limits } from '@ironflow/schema';
import type { JournalEntry } from '@ironflow/schema';
import { completed, end, record } from './testing/raw-worker.js';
import { answer, useWorld } from './testing/suite.js';
import type { RunHandle, World } from './testing/world.js';

const suite = useWorld();
const { connect, createApp, ended, open, start } = suite;
let world: World;
beforeAll(() => {
  world = suite.world();
});

/** As many quotes as there may be: each is two bytes of JSON, and four in a message. */
const largest = JSON.stringify('"'.repeat((limits.stepOutputBytesMax - 2) / 2));
const large = (mark: string): string => JSON.stringify(mark.repeat(limits.inlineOutputBytesMax));

/** In memory as the executor left them: which outputs there are, by step. */
async function stored({ runId }: RunHandle): Promise<{ step_id: string; hash: string }[]> {
  const text = 'select step_id, hash from claimed_outputs where run_id = $1 order by step_id';
  return world.database.query({ name: 'test_claimed_outputs', text }, [runId]);
}

const claims = (entries: JournalEntry[]): unknown[] =>
  entries.flatMap((entry) => {
    const of = entry.type === 'step' ? entry.step : entry.run;
    return 'outputClaim' in of ? [of.outputClaim] : [];
  });

describe('outputs that are too large for the journal', () => {
  test('pull: are stored before their entries, and claimed; the next replay has them whole', async () => {
    const appId = await createApp();
    const first = await start();
    const worker = await connect(first, appId);
    const run = await suite.activated(appId);
    const given = await worker.next('activate');
    worker.send(record(given, 0, completed('a', largest), completed('b', '1')));
    await worker.next('recorded', 0, 20_000);
    worker.send(record(given, 1, completed('c', large('c'))));
    await worker.next('recorded', 1);
    const entries = await world.entries(run);
    expect(claims(entries)).toEqual([claimFor(largest), claimFor(large('c'))]);
    expect((await stored(run)).map(({ step_id }) => step_id)).toEqual(['a', 'c']);

    // Another executor goes on with what Postgres has not accepted yet.
    await first.stop();
    const next = await connect(await start(), appId);
    const { invocation } = await next.next('activate', 0, 20_000);
    expect(invocation.memo.map(({ id, output }) => [id, output])).toEqual([
      ['a', largest],
      ['b', '1'],
      ['c', large('c')],
    ]);
  }, 60_000);

  test('push: go the same way, with the run’s own beside them', async () => {
    const records = [completed('a', large('a'))];
    const endpoint = await open(
      answer({ v: 1, records, outcome: { kind: 'completed', output: large('r') } }),
    );
    const run = await suite.createPushRun(endpoint.url);
    await start();
    await world.activate(run);
    const entries = await ended(run);
    expect(claims(entries)).toEqual([claimFor(large('a')), claimFor(large('r'))]);
    expect((await stored(run)).map(({ step_id }) => step_id)).toEqual(['', 'a']);
  }, 60_000);

  test('a killed executor that had stored one before its append is no obstacle: it is there once', async () => {
    const output = large('x');
    const appId = await createApp();
    const worker = await connect(await start(), appId);
    const run = await suite.activated(appId);
    const { environmentId } = run.scope;
    const key = { runId: run.runId, stepId: 'a', attempt: 1, hash: claimFor(output).hash };
    await createExecutorStore(world.database).storeClaimed([{ ...key, environmentId, output }]);
    const given = await worker.next('activate');
    worker.send(record(given, 0, completed('a', output)), end(given));
    expect(claims(await ended(run))).toEqual([claimFor(output)]);
    expect(await stored(run)).toHaveLength(1);
  });

  test('what is no JSON fails the run and says whose it was, and the run beside it goes on', async () => {
    const appId = await createApp();
    const worker = await connect(await start(), appId);
    const [refused, other] = [await suite.activated(appId), await suite.activated(appId)];
    const activations = [await worker.next('activate', 0), await worker.next('activate', 1)];
    const givenOf = (run: RunHandle) =>
      activations.find(({ invocation }) => invocation.run.id === run.runId)!;
    worker.send(
      record(givenOf(refused), 0, completed('bad', `no json${large('x')}`)),
      record(givenOf(other), 0, completed('good', large('y'))),
      end(givenOf(other)),
    );
    const failed = (await ended(refused)).at(-1);
    expect(failed).toMatchObject({ run: { kind: 'failed', error: { name: 'output_refused' } } });
    expect(JSON.stringify(failed)).toContain('the step \\"bad\\"');
    expect(claims(await ended(other))).toEqual([claimFor(large('y'))]);
  });
});
