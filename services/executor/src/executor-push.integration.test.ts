import { beforeAll, describe, expect, test } from '@jest/globals';
import type { RequestListener } from 'node:http';
import { verifySignature } from '@ironflow/schema';
import type { Invocation, JournalEntry, Scope } from '@ironflow/schema';
import { createFunction, serve } from '@ironflow/sdk';
import { eventually, freePort } from '@ironflow/testing';
import { completed } from './testing/raw-worker.js';
import { answer, done, patience, stepIds, useWorld } from './testing/suite.js';
import type { RunHandle, World } from './testing/world.js';

const suite = useWorld();
const { ended, open, start } = suite;
const createRun = suite.createPushRun;
let world: World;
let scope: Scope;
beforeAll(() => {
  world = suite.world();
  scope = world.ours.scope;
});

async function activate(run: RunHandle): Promise<void> {
  await world.activate(run);
}

const declined = { kind: 'declined', reason: 'function_not_found' };
const goOn = (...ids: string[]) => ({
  v: 1,
  records: ids.map((id) => completed(id)),
  outcome: { kind: 'continue' },
});

describe('runs of a flood', () => {
  test('are taken from the lane of their environment once it is told of, beside those of others', async () => {
    const endpoint = await open((_request, response) => response.end(JSON.stringify(done)));
    const present: string[] = [];
    const stopHearing = world.jetstream.notices.onExecutor(() => present.push('executor'));
    suite.undo(stopHearing);
    await world.jetstream.connection.nats.flush();
    await start();
    await eventually(() => expect(present).toEqual(['executor']));
    const ordinary = await createRun(endpoint.url);
    const bulk: RunHandle[] = [];
    for (let count = 0; count < 3; count += 1) bulk.push({ ...(await createRun(endpoint.url)), bulk: true });
    for (const run of [...bulk, ordinary]) await activate(run);
    await ended(ordinary);
    expect(await Promise.all(bulk.map((run) => world.isActivated(run)))).toEqual([true, true, true]);
    world.jetstream.notices.publishBulk({ scope });
    for (const run of bulk) expect((await ended(run)).at(-1)).toMatchObject({ run: { kind: 'completed' } });
  });
});

describe('a push run', () => {
  test('is driven by signed calls, one a step, and its journal has every step before the next one began', async () => {
    const functionId = 'add';
    const add = createFunction(
      { id: functionId, triggers: [{ event: 'test.happened' }] },
      async ({ step }) => {
        const left = await step.run('left', () => 1);
        const right = await step.run('right', () => 2);
        return step.run('sum', () => left + right);
      },
    );
    const handler = serve({
      app: 'maths',
      functions: [add],
      signingKey: world.ours.signingKey,
      log: () => {},
    });
    const endpoint = await open((request, response) => handler.node(request, response));
    await world.register(scope, { id: 'maths', url: endpoint.url }, { [functionId]: {} });
    const run = await world.createRun({ scope, appId: 'maths', functionId, mode: 'push' }, { a: 1 });
    await start();
    await activate(run);
    const entries = await ended(run);
    expect(stepIds(entries)).toEqual(['left', 'right', 'sum']);
    expect(entries.at(-1)).toMatchObject({
      run: { kind: 'completed', served: 1, output: '3', call: { endpoint: endpoint.url, succeeded: true } },
    });
    const messages = await world.journal(run);
    let prev = 0;
    for (const { sequence, message } of messages) {
      expect(message).toMatchObject({ prev, runId: run.runId, environmentId: scope.environmentId });
      prev = sequence;
    }
    const ids = new Set<string>();
    for (const [index, { headers, body }] of endpoint.calls.entries()) {
      const id = String(headers['webhook-id']);
      const timestamp = String(headers['webhook-timestamp']);
      const signature = String(headers['webhook-signature']);
      const { signingKey } = world.ours;
      expect(verifySignature({ id, timestamp, body }, signature, [signingKey], Date.now())).toEqual({
        valid: true,
      });
      const theirs = verifySignature(
        { id, timestamp, body },
        signature,
        [world.theirs.signingKey],
        Date.now(),
      );
      expect(theirs.valid).toBe(false);
      ids.add(id);
      const invocation = JSON.parse(body) as Invocation;
      expect(invocation.memo.map((step) => step.id)).toEqual(['left', 'right', 'sum'].slice(0, index));
      expect(invocation).toMatchObject({
        run: { attempt: 1 },
        event: { data: '{"a":1}' },
        deadlineMs: 10_000,
      });
    }
    expect(ids.size).toBe(endpoint.calls.length);
    // The last step travels with the end.
    expect(endpoint.calls).toHaveLength(3);
  });

  test('that is unknown, of another environment, or finished is acknowledged and not called', async () => {
    const endpoint = await open(answer(done));
    const finished = await createRun(endpoint.url);
    const foreign = { ...(await createRun(endpoint.url)), scope: world.theirs.scope };
    const unknown = { ...finished, runId: '01930000-0000-7000-8000-000000000001' };
    await world.accept(finished, { prev: 0, journalSeq: 5, status: 'completed', served: 1 });
    await start();
    for (const run of [finished, foreign, unknown]) {
      await activate(run);
      await eventually(async () => expect(await world.isActivated(run)).toBe(false), patience);
    }
    expect(endpoint.calls).toHaveLength(0);
  });

  test('goes on from what the journal has and Postgres has not accepted yet', async () => {
    const endpoint = await open(answer(done));
    const run = await createRun(endpoint.url);
    await appendAs(run, { activation: 1, delivery: 1, executor: 'before' }, 0, [
      { type: 'step', step: completed('first', '"kept"') },
    ]);
    await start();
    await activate(run);
    expect(stepIds(await ended(run))).toEqual(['first']);
    const { memo } = JSON.parse(endpoint.calls[0]!.body) as Invocation;
    expect(memo).toMatchObject([{ id: 'first', status: 'completed', output: '"kept"' }]);
  });

  test('whose journal was trimmed meanwhile goes on from where Postgres is, and loses no step', async () => {
    let calls = 0;
    const endpoint = await open((_request, response) => {
      calls += 1;
      if (calls === 1) return response.end(JSON.stringify(goOn('one')));
      if (calls > 2) return response.end(JSON.stringify(done));
      // Before the second step is answered, the first has been accepted and trimmed.
      void acceptAndTrim(run, 'one').then(() => response.end(JSON.stringify(goOn('two'))));
    });
    const run = await createRun(endpoint.url);
    await start();
    await activate(run);
    expect(stepIds(await ended(run))).toEqual(['two']);
    expect(calls).toBe(3);
  });

  test('starts again when an older writer got in between, and nothing of the new start passes for the old', async () => {
    let calls = 0;
    const endpoint = await open((_request, response) => {
      calls += 1;
      if (calls === 1) return response.end(JSON.stringify(goOn('one')));
      if (calls > 3) return response.end(JSON.stringify(done));
      if (calls === 3) return response.end(JSON.stringify(goOn('three')));
      // A stale append gets in after the trim; it follows a position that Postgres has left.
      void (async () => {
        await acceptAndTrim(run, 'one');
        await appendAs(run, { activation: 1, delivery: 1, executor: 'stale' }, 0, [
          { type: 'step', step: completed('one') },
        ]);
        response.end(JSON.stringify(goOn('two')));
      })();
    });
    const run = await createRun(endpoint.url);
    await start();
    await activate(run);
    const entries = await ended(run);
    // The stray one is a branch; the second call's step was refused with the old start, so it ran again as `three`.
    expect(stepIds(entries)).toEqual(['one', 'three']);
    const messages = await world.journal(run);
    expect(new Set(messages.map(({ messageId }) => messageId)).size).toBe(messages.length);
    const [stray, third, end] = messages;
    expect(third!.message.prev).not.toBe(stray!.sequence);
    expect(end!.message.prev).toBe(third!.sequence);
    expect(endpoint.calls).toHaveLength(4);
  });

  test('whose step returned what cannot be stored fails, and says so', async () => {
    const output = 'no json '.repeat(20_000);
    const records = [completed('small', '1'), completed('big', output)];
    const endpoint = await open(answer({ v: 1, records, outcome: { kind: 'continue' } }));
    const run = await createRun(endpoint.url);
    await start();
    await activate(run);
    const entries = await ended(run);
    expect(entries.at(-1)).toMatchObject({
      run: { kind: 'failed', served: 1, error: { name: 'output_refused' } },
    });
    expect(JSON.stringify(entries.at(-1))).toContain('the step \\"big\\"');
    expect(endpoint.calls).toHaveLength(1);
  });

  test('whose end returned what cannot be stored fails as well', async () => {
    const output = 'no json '.repeat(20_000);
    const endpoint = await open(answer({ v: 1, records: [], outcome: { kind: 'completed', output } }));
    const run = await createRun(endpoint.url);
    await start();
    await activate(run);
    expect((await ended(run)).at(-1)).toMatchObject({
      run: { kind: 'failed', error: { name: 'output_refused' } },
    });
  });

  test('with many large steps at once is written in as many messages as it takes', async () => {
    const records = Array.from({ length: 8 }, (_, index) =>
      completed(`s${index}`, `"${'x'.repeat(200_000)}"`),
    );
    const endpoint = await open(answer({ v: 1, records, outcome: { kind: 'completed' } }));
    const run = await createRun(endpoint.url);
    await start();
    await activate(run);
    const entries = await ended(run);
    expect(stepIds(entries)).toHaveLength(8);
    expect(entries.at(-1)).toMatchObject({ run: { kind: 'completed' } });
    for (const { message } of await world.journal(run)) {
      expect(Buffer.byteLength(JSON.stringify(message))).toBeLessThan(700 * 1024);
    }
  });
});

describe('an endpoint', () => {
  const failures: [string, RequestListener, string][] = [
    ['that answers 500', (_request, response) => response.writeHead(500).end('broken'), 'bad_status'],
    ['that answers 404', (_request, response) => response.writeHead(404).end(), 'bad_status'],
    ['that answers garbage', (_request, response) => response.end('<html>'), 'bad_answer'],
    ['that answers something else in JSON', answer({ ok: true }), 'bad_answer'],
    ['that declines', answer({ v: 1, records: [], outcome: declined }), 'bad_answer'],
    ['that wants to go on without a step', answer(goOn()), 'bad_answer'],
    ['that answers without end', (_request, response) => flood(response), 'bad_answer'],
  ];
  test.each(failures)('%s is a failed call, retried by the policy', async (_name, listener, reason) => {
    const endpoint = await open(listener);
    const run = await createRun(endpoint.url, { initialDelayMs: 1_000 });
    await start();
    await activate(run);
    expect(await ended(run)).toMatchObject([
      {
        run: {
          kind: 'call_failed',
          served: 1,
          retry: { attempt: 1, error: { name: reason } },
          call: { endpoint: endpoint.url, succeeded: false },
        },
      },
    ]);
    expect(retryInMs(await world.entries(run))).toBeLessThanOrEqual(1_000);
  });

  test('that refuses connections has certainly not begun: the retry need not wait for the deadline', async () => {
    const run = await createRun(`http://127.0.0.1:${await freePort()}/`, { initialDelayMs: 100 });
    await start();
    await activate(run);
    const entries = await ended(run);
    expect(entries).toMatchObject([
      { run: { kind: 'call_failed', retry: { error: { name: 'unreachable' } } } },
    ]);
    expect(retryInMs(entries)).toBeLessThanOrEqual(100);
  });

  test('that hangs up in the middle may still be working: no retry before its deadline', async () => {
    const endpoint = await open((request) => request.socket.destroy());
    const run = await createRun(endpoint.url, { initialDelayMs: 100 });
    await start();
    await activate(run);
    const entries = await ended(run);
    expect(entries).toMatchObject([
      { run: { kind: 'call_failed', retry: { error: { name: 'unreachable' } } } },
    ]);
    expect(retryInMs(entries)).toBeGreaterThan(9_000);
    expect(retryInMs(entries)).toBeLessThanOrEqual(10_000);
  });

  test('that never answers has timed out at its deadline, and the activation was held all the while', async () => {
    const endpoint = await open(() => undefined);
    const run = await createRun(endpoint.url, { initialDelayMs: 100 });
    await start({ pushDeadlineMs: 4_500 });
    await activate(run);
    const entries = await ended(run);
    expect(entries).toMatchObject([
      { run: { kind: 'started' } },
      { run: { kind: 'call_failed', retry: { error: { name: 'timed_out' } } } },
    ]);
    expect(retryInMs(entries)).toBeLessThanOrEqual(100);
    expect(endpoint.calls).toHaveLength(1);
  });

  test('that has failed as often as the policy allows fails the run', async () => {
    const endpoint = await open((_request, response) => response.writeHead(500).end());
    const run = await createRun(endpoint.url, { attempts: 2, initialDelayMs: 0 });
    await start();
    await activate(run);
    await ended(run);
    await world.retryDue(run);
    await activate(run);
    expect((await ended(run)).map((entry) => (entry as { run: { kind: string } }).run.kind)).toEqual([
      'call_failed',
      'failed',
    ]);
  });
});

const retryInMs = (entries: JournalEntry[]): number => {
  const last = entries.at(-1);
  if (last?.type !== 'run' || last.run.kind !== 'call_failed') throw new Error('no failed call');
  return last.run.retry.inMs;
};

function flood(response: Parameters<RequestListener>[1]): void {
  const chunk = Buffer.alloc(1024 * 1024, 'x');
  const write = (): void => {
    if (!response.destroyed) response.write(chunk, write);
  };
  write();
}

/** What the collector does with the first step of a run, and what becomes of its message. */
async function acceptAndTrim(run: RunHandle, id: string): Promise<void> {
  const [first] = await world.journal(run);
  const at = { prev: 0, journalSeq: first!.sequence };
  await world.accept(run, { ...at, steps: [completed(id)], status: 'running' });
  await world.jetstream.journal.trimBelow(first!.sequence + 1);
}

async function appendAs(
  run: RunHandle,
  writer: { activation: number; delivery: number; executor: string },
  expectedSequence: number,
  entries: JournalEntry[],
): Promise<number> {
  const { environmentId } = run.scope;
  const result = await world.jetstream.journal.append({
    scope: run.scope,
    message: {
      environmentId,
      runId: run.runId,
      functionId: run.functionId,
      prev: 0,
      writer,
      activatedAtMs: 1,
      entries,
    },
    expectedSequence,
    counter: 1,
  });
  if (result.kind !== 'appended') throw new Error(`not appended: ${result.kind}`);
  return result.sequence;
}
