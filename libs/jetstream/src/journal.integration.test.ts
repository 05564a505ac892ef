import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { randomBytes } from 'node:crypto';
import { jetstreamManager } from '@nats-io/jetstream';
import { createId, headerNames, subjects } from '@ironflow/schema';
import type { JournalEntry, JournalMessage, Scope, Writer } from '@ironflow/schema';
import { createScratch, sharedNats, startNatsCluster, stopSharedServers } from '@ironflow/testing';
import type { NatsServer } from '@ironflow/testing';
import { connectJetStream } from './jetstream.js';
import type { JetStream } from './jetstream.js';
import { JournalTooNewError } from './journal-reader.js';
import type { AppendRequest, AppendResult } from './journal.js';

const scope: Scope = { project: 'acme', env: 'prod', environmentId: newId() };
const warnings: string[] = [];
const log = { info: () => undefined, warn: (message: string) => warnings.push(message) };
let activation = 0;
let older: Writer;
let newer: Writer;
let jetstream: JetStream;
let runId: string;
let servers: Servers;

interface Servers {
  url: string;
  all: readonly NatsServer[];
  stop(): Promise<void>;
}

async function startServers(replicas: number): Promise<Servers> {
  if (replicas === 1) {
    const server = await sharedNats();
    return { url: server.url, all: [server], stop: stopSharedServers };
  }
  const scratch = await createScratch('nats-cluster');
  const cluster = await startNatsCluster({ storeDir: scratch.path, nodes: replicas });
  const stop = async (): Promise<void> => {
    await Promise.all(cluster.servers.map((server) => server.kill()));
    await scratch.remove();
  };
  return { url: cluster.urls.join(), all: cluster.servers, stop };
}

function newId(): string {
  return createId(Date.now(), randomBytes(10));
}

function request(writer: Writer, expectedSequence: number, counter: number, ends = false): AppendRequest {
  const step: JournalMessage['entries'][number] = {
    type: 'step',
    step: {
      id: `s${counter}`,
      name: 's',
      type: 'run',
      attempt: 1,
      startedAtMs: 1,
      endedAtMs: 2,
      status: 'completed',
      output: '"\\u0000\\ud800"',
    },
  };
  const entries = ends
    ? [step, { type: 'run' as const, run: { kind: 'completed' as const, served: 1 } }]
    : [step];
  const base = { environmentId: scope.environmentId, runId, functionId: 'f', activatedAtMs: 1 };
  return { scope, expectedSequence, counter, message: { ...base, prev: expectedSequence, writer, entries } };
}

async function append(...parameters: Parameters<typeof request>): Promise<number> {
  const result = await jetstream.journal.append(request(...parameters));
  if (result.kind !== 'appended') throw new Error(`not appended: ${result.kind}`);
  return result.sequence;
}

describe.each([1, 3])('with %i replicas', (replicas) => {
  beforeAll(async () => {
    servers = await startServers(replicas);
    const { url } = servers;
    jetstream = await connectJetStream({ url, name: 'test', replicas, requestTimeoutMs: 2_000, log });
  });
  beforeEach(() => {
    runId = newId();
    // An activation is of one run and never comes again: message ids rely on it.
    activation += 1;
    older = { activation, delivery: 1, executor: 'a' };
    newer = { activation, delivery: 2, executor: 'b' };
  });
  afterAll(async () => {
    await jetstream.close();
    await servers.stop();
  });

  test('a chain of appends reads back in order, from any position, on both of its subjects', async () => {
    const first = await append(older, 0, 1);
    const second = await append(older, first, 2);
    const third = await append(older, second, 3, true);
    expect((await jetstream.journal.last(scope, runId))!.sequence).toBe(third);
    const tail = await jetstream.journal.after(scope, runId, first);
    expect(tail.map(({ sequence }) => sequence)).toEqual([second, third]);
    expect(tail[0]!.message).toEqual(request(older, first, 2).message);
    expect(await jetstream.journal.after(scope, runId, third)).toEqual([]);
    expect(await jetstream.journal.after(scope, runId, first, second)).toEqual(tail.slice(0, 1));
    expect(await jetstream.journal.after(scope, runId, first, third)).toEqual(tail);
  });

  test('what readers of the version before would misread is left to newer ones', async () => {
    const manager = await jetstreamManager(jetstream.connection.nats);
    const step = { id: 's', name: 's', attempt: 1, startedAtMs: 1, endedAtMs: 2 };
    const outputClaim = { hash: `sha256-${'a'.repeat(43)}`, bytes: 1 };
    const entries: [JournalEntry, string][] = [
      [{ type: 'run', run: { kind: 'started' } }, '1.0'],
      [{ type: 'step', step: { ...step, type: 'run', status: 'completed', outputClaim } }, '2.0'],
      [{ type: 'step', step: { ...step, attempt: 0, type: 'compensate', status: 'registered' } }, '2.0'],
      [{ type: 'run', run: { kind: 'stopping', outcome: { kind: 'cancelled' } } }, '2.0'],
      [{ type: 'run', run: { kind: 'skipped', served: 1, reason: 'start_deadline' } }, '2.0'],
    ];
    let expected = 0;
    for (const [counter, [entry, version]] of entries.entries()) {
      const { message, ...base } = request(older, expected, counter);
      const appended = await jetstream.journal.append({ ...base, message: { ...message, entries: [entry] } });
      if (appended.kind !== 'appended') throw new Error(`not appended: ${appended.kind}`);
      expected = appended.sequence;
      const stored = await manager.streams.getMessage('RESULTS', { seq: expected });
      expect({ entry, version: stored!.header.get(headerNames.schemaVersion) }).toEqual({ entry, version });
    }
    expect(await jetstream.journal.after(scope, runId, 0)).toHaveLength(entries.length);
  });

  test('the journal of a run that never wrote has no last entry', async () => {
    expect(await jetstream.journal.last(scope, runId)).toBeUndefined();
  });

  test('of 20 writers at one position exactly one wins', async () => {
    const writers = Array.from({ length: 20 }, (_, index) => ({
      activation: 1_000 + index,
      delivery: 1,
      executor: 'e',
    }));
    const results = await Promise.all(
      writers.map((writer) => jetstream.journal.append(request(writer, 0, 1))),
    );
    expect(results.filter(({ kind }) => kind === 'appended')).toHaveLength(1);
    expect(await jetstream.journal.after(scope, runId, 0)).toHaveLength(1);
  });

  test('a writer that finds an entry of a newer delivery is superseded', async () => {
    await append(newer, 0, 1);
    expect(await jetstream.journal.append(request(older, 0, 1))).toEqual({ kind: 'superseded', by: newer });
  });

  test('a writer that finds an entry of an older delivery has overtaken it and can adopt it', async () => {
    const first = await append(older, 0, 1);
    expect(await jetstream.journal.append(request(newer, 0, 1))).toEqual({ kind: 'overtook', older });
    expect(await append(newer, first, 2)).toBeGreaterThan(first);
  });

  test('an append whose acknowledgement was lost is found again and stored once', async () => {
    const first = await append(older, 0, 1);
    expect(await jetstream.journal.append(request(older, 0, 1))).toEqual({
      kind: 'appended',
      sequence: first,
    });
    expect(await jetstream.journal.after(scope, runId, 0)).toHaveLength(1);
  });

  test('an append whose message id was used before by the same delivery is not taken for stored', async () => {
    const first = await append(older, 0, 1);
    // The durable was remade: the same executor gets the same activation as delivery 1 again, and counts from 1.
    const again = await jetstream.journal.append(request(older, first, 1));
    expect(again).toEqual({ kind: 'superseded', by: older });
    await jetstream.journal.trimBelow(first + 1);
    const trimmed = request(older, 0, 1);
    trimmed.message.prev = first;
    expect(await jetstream.journal.append(trimmed)).toEqual({ kind: 'superseded', by: older });
    expect(await jetstream.journal.after(scope, runId, 0)).toEqual([]);
  });

  test('a writer that meets an append of its own which it never knew of stops', async () => {
    await append(older, 0, 1);
    const result = await jetstream.journal.append(request(older, 0, 2));
    expect(result).toEqual({ kind: 'superseded', by: older });
  });

  test('an expectation against a journal that was trimmed is told as such', async () => {
    const first = await append(older, 0, 1);
    await jetstream.journal.trimBelow(first + 1);
    expect(await jetstream.journal.append(request(older, first, 2))).toEqual({ kind: 'trimmed' });
    expect(await append(older, 0, 2)).toBeGreaterThan(first);
  });

  test('trimming keeps everything from its bound on', async () => {
    const first = await append(older, 0, 1);
    const second = await append(older, first, 2);
    await jetstream.journal.trimBelow(second);
    expect((await jetstream.journal.after(scope, runId, 0)).map(({ sequence }) => sequence)).toEqual([
      second,
    ]);
    expect((await jetstream.states.stream('RESULTS')).firstSequence).toBe(second);
  });

  test('advancing beyond a sequence of another life gives the next message a higher one, and repeats harmlessly', async () => {
    const first = await append(older, 0, 1);
    const highest = first + 1_000_000;
    await Promise.all([jetstream.journal.advanceBeyond(highest), jetstream.journal.advanceBeyond(highest)]);
    const second = await append(older, 0, 2);
    expect(second).toBe(highest + 1);
    await jetstream.journal.advanceBeyond(highest);
    await jetstream.journal.advanceBeyond(first);
    expect(await append(older, second, 3)).toBe(second + 1);
    expect(await jetstream.journal.after(scope, runId, 0)).toHaveLength(2);
  });

  describe('a message on the run’s subject that is none of a journal', () => {
    const litter = async (headers: Record<string, string> = {}): Promise<number> => {
      const subject = subjects.journal(scope, runId, 'step');
      const result = await jetstream.publisher.publish({ subject, data: 'not a journal', headers });
      if (result.kind !== 'stored') throw new Error(`not stored: ${result.kind}`);
      return result.sequence;
    };
    const readable = async (): Promise<number[]> =>
      (await jetstream.journal.after(scope, runId, 0)).map(({ sequence }) => sequence);

    test('is passed over by whoever reads, wherever it stands', async () => {
      await litter();
      expect(await jetstream.journal.last(scope, runId)).toBeUndefined();
      const first = await append(older, 0, 1);
      await litter();
      const second = await append(older, first, 2);
      await litter();
      expect(await readable()).toEqual([first, second]);
      expect((await jetstream.journal.last(scope, runId))!.sequence).toBe(second);
    });

    test('is gone past by an append that knows everything else', async () => {
      await litter();
      const first = await append(older, 0, 1);
      await litter();
      await litter();
      const second = await append(older, first, 2);
      expect(await append(older, second, 3)).toBeGreaterThan(second);
    });

    test('hides no other writer from an append', async () => {
      await append(newer, 0, 1);
      await litter();
      expect(await jetstream.journal.append(request(older, 0, 1))).toEqual({ kind: 'superseded', by: newer });
    });

    test('does not hide an append of one’s own whose acknowledgement was lost', async () => {
      const first = await append(older, 0, 1);
      await litter();
      const again = await jetstream.journal.append(request(older, 0, 1));
      expect(again).toEqual({ kind: 'appended', sequence: first });
      expect(await readable()).toEqual([first]);
    });

    test('does not hide that what was expected is gone, and others may be with it', async () => {
      const first = await append(older, 0, 1);
      const second = await append(newer, first, 1);
      const third = await litter();
      await jetstream.journal.trimBelow(third);
      expect(await jetstream.journal.append(request(older, first, 2))).toEqual({ kind: 'trimmed' });
      // Having asked Postgres, a writer expects nothing.
      expect(await append(newer, 0, 2)).toBeGreaterThan(second);
    });

    test('is not passed over when a newer version wrote it: nobody here may go on', async () => {
      const first = await append(older, 0, 1);
      await litter({ [headerNames.schemaVersion]: '3.0' });
      await expect(jetstream.journal.after(scope, runId, 0)).rejects.toThrow(JournalTooNewError);
      await expect(jetstream.journal.last(scope, runId)).rejects.toThrow(JournalTooNewError);
      await expect(jetstream.journal.append(request(older, first, 2))).rejects.toThrow(JournalTooNewError);
    });

    test('is passed over as well when its version is none', async () => {
      const first = await append(older, 0, 1);
      await litter({ [headerNames.schemaVersion]: 'garbage' });
      expect((await jetstream.journal.last(scope, runId))!.sequence).toBe(first);
      expect(await append(older, first, 2)).toBeGreaterThan(first);
    });
  });

  test('an append that the stream refuses for good is not dropped in silence', async () => {
    const manager = await jetstreamManager(jetstream.connection.nats);
    await manager.streams.update('RESULTS', { max_msg_size: 10 });
    expect(await jetstream.journal.append(request(older, 0, 1))).toEqual({ kind: 'unanswered' });
    await manager.streams.update('RESULTS', { max_msg_size: -1 });
    expect(warnings.at(-1)).toMatch(/^RESULTS refused an append: 10054 /);
  });

  // One server alone has no leader to lose.
  if (replicas > 1) {
    test('of 20 writers exactly one wins when the leader is lost under them', async () => {
      const manager = await jetstreamManager(jetstream.connection.nats);
      const { cluster } = await manager.streams.info('RESULTS');
      const leader = servers.all.find(({ serverName }) => serverName === cluster!.leader)!;
      const decided = async (writer: Writer): Promise<AppendResult> => {
        for (;;) {
          const result = await jetstream.journal
            .append(request(writer, 0, 1))
            .catch((): AppendResult => ({ kind: 'unanswered' }));
          if (result.kind !== 'unanswered' && result.kind !== 'full') return result;
        }
      };
      const writers = Array.from({ length: 20 }, (_, index) => ({
        activation: 2_000 + index,
        delivery: 1,
        executor: 'e',
      }));
      const results = writers.map(decided);
      await leader.kill();
      const kinds = (await Promise.all(results)).map(({ kind }) => kind);
      expect(kinds.filter((kind) => kind === 'appended')).toHaveLength(1);
      expect(await jetstream.journal.after(scope, runId, 0)).toHaveLength(1);
    });
  }
});
