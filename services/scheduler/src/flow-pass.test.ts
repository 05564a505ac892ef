import { expect, test } from '@jest/globals';
import type { FlowEntry, FlowPass, FlowWrites } from '@ironflow/database';
import type { Registry } from '@ironflow/schema';
import { place } from './flow-admissions.js';
import { runPass } from './flow-pass.js';

function entryOf(runId: string, receivedAtMs: number): FlowEntry {
  const of = { runId, eventId: runId, functionId: 'f', appId: 'app', mode: 'push' as const };
  const run = { ...of, scope: { environmentId: 'e', project: 'p', env: 'prod' } };
  const arrival = { state: 'arrived' as const, keys: { singleton: '' }, bytes: 1, resumed: false };
  return { ...of, ...arrival, receivedAtMs, positionMs: receivedAtMs, run };
}

test('a run that another takes the place of in this pass is not let go in it, though its slot is free now', async () => {
  const singleton = { mode: 'cancel' as const };
  const waiting: FlowEntry = { ...entryOf('waiting', 1), state: 'queued' };
  const arriving = entryOf('arriving', 2);
  const { lane } = place(waiting, { singleton });
  const stored = { lane, functionId: 'f', resumed: false, slots: [], throttle: undefined };
  const written: FlowWrites[] = [];
  const pass: FlowPass = {
    ...{ nowMs: 10, registryVersion: 1, isPaused: false, pausedFunctions: new Set() },
    arrivals: async () => [arriving],
    states: async (keys) => keys.map((key) => ({ ...key, runId: 'waiting', expiresAtMs: 100 })),
    holders: async () => new Map([['waiting', { entry: waiting, state: 'queued', hasBegun: false }]]),
    usage: async () => new Map(),
    obstacles: async () => [],
    unblock: async () => [],
    lanes: async () => [{ ...stored, positionMs: 1, readyAtMs: 0, entries: [waiting], readUpToMs: Infinity }],
    write: async (writes) => {
      written.push(writes);
      return { admitted: new Set(writes.admitted.map(({ runId }) => runId)), skipped: [] };
    },
  };
  const functions = new Map([['f', { config: { id: 'f', singleton } }]]);
  const registry = { version: 1, functions } as unknown as Registry;
  const presence = { isPresent: () => true };
  await runPass(pass, { environmentId: 'e', registry, reasons: {}, presence });
  expect(written[0]!.skipped.map(({ runId }) => runId)).toEqual(['waiting']);
  expect(written[0]!.admitted.map(({ runId }) => runId)).toEqual(['arriving']);
});
