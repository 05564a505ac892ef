import { expect, test } from '@jest/globals';
import { createId, deriveRunId, lowestIdAt, uuidSchema } from '@ironflow/schema';
import * as fc from 'fast-check';
import { boundsOf, highestId, intersect, lowestId, windowsAround } from './id-windows.js';

const id = fc
  .tuple(
    fc.integer({ min: 1_700_000_000_000, max: 1_700_000_000_050 }),
    fc.uint8Array({ minLength: 10, maxLength: 10 }),
  )
  .map(([timeMs, random]) => createId(timeMs, random));

test('the run of an event lies in the windows around its id, and windows never touch', () => {
  fc.assert(
    fc.property(fc.array(id, { minLength: 1, maxLength: 20 }), (eventIds) => {
      const windows = windowsAround(eventIds);
      for (const eventId of eventIds) {
        const runId = deriveRunId({ environmentId: lowestId, eventId, functionId: 'ship' });
        expect(windows.filter(({ lowest, end }) => lowest <= runId && runId < end)).toHaveLength(1);
      }
      for (const [index, window] of windows.entries()) {
        if (index > 0) expect(window.lowest > windows[index - 1]!.end).toBe(true);
      }
    }),
  );
});

test('bounds enclose every id, and those of none enclose nothing', () => {
  fc.assert(
    fc.property(fc.array(id, { minLength: 1 }), (ids) => {
      const sorted = [...ids].sort();
      expect(boundsOf(ids)).toEqual({ lowest: sorted[0], highest: sorted.at(-1) });
    }),
  );
  expect(boundsOf([])).toEqual({ lowest: highestId, highest: lowestId });
});

test('windows that do not meet have nothing in common', () => {
  const at = (from: number, to: number) => ({ lowest: lowestIdAt(from), end: lowestIdAt(to) });
  expect(intersect(at(10, 20), at(15, 30))).toEqual(at(15, 20));
  const nothing = intersect(at(10, 20), at(30, 40));
  expect(nothing.lowest >= nothing.end).toBe(true);
});

test('ids at the end of time have a window of ids too', () => {
  const last = 'ffffffff-ffff-7000-8000-000000000000';
  const [window] = windowsAround([last]);
  expect(window!.lowest <= last && last < window!.end).toBe(true);
  for (const bound of [window!.lowest, window!.end]) expect(uuidSchema.safeParse(bound).success).toBe(true);
});
