import { randomUUID } from 'node:crypto';
import { expect, test } from '@jest/globals';
import type { Scope } from '@ironflow/schema';
import { createFloodLanes } from './flood-lanes.js';

const scopes = Array.from({ length: 5 }, (_, index): Scope => ({
  environmentId: randomUUID(),
  project: `p${index}`,
  env: 'prod',
}));
const [first, second, third, fourth, fifth] = scopes as [Scope, Scope, Scope, Scope, Scope];

/** Two lanes at a time, and what they would do. */
function scene() {
  let nowMs = 0;
  const open = new Map<string, { heard: () => void; active: number }>();
  const lanes = createFloodLanes({
    lanesMax: 2,
    nowMs: () => nowMs,
    open: (scope, heard) => {
      const lane = { heard, active: 0 };
      expect(open.has(scope.project)).toBe(false);
      open.set(scope.project, lane);
      return { active: () => lane.active, stop: () => void open.delete(scope.project) };
    },
  });
  return {
    lanes,
    open: () => [...open.keys()],
    lane: (scope: Scope) => open.get(scope.project)!,
    pass: (durationMs: number) => {
      nowMs += durationMs;
      lanes.takeTurns();
    },
  };
}

test('as many lanes are open as may be, and whoever is told of beyond that waits', () => {
  const { lanes, open, pass } = scene();
  for (const scope of [first, second, third]) lanes.tell(scope);
  expect(open()).toEqual(['p0', 'p1']);
  pass(250);
  expect(open()).toEqual(['p0', 'p1']);
});

test('a lane that has had nothing for a second makes room, the one told of first goes first', () => {
  const { lanes, open, lane, pass } = scene();
  for (const scope of [first, second, third, fourth]) lanes.tell(scope);
  pass(900);
  lane(first).heard();
  pass(100);
  expect(open()).toEqual(['p0', 'p2']);
  pass(900);
  expect(open()).toEqual(['p2', 'p3']);
});

test('a lane at work keeps its place for five seconds and goes on after the others', () => {
  const { lanes, open, lane, pass } = scene();
  for (const scope of [first, second, third]) lanes.tell(scope);
  for (const scope of [first, second]) lane(scope).active = 3;
  pass(4_900);
  expect(open()).toEqual(['p0', 'p1']);
  pass(100);
  expect(open()).toEqual(['p1', 'p2']);
  pass(250);
  expect(open()).toEqual(['p2', 'p0']);
});

test('with room for all nobody gives way', () => {
  const { lanes, open, lane, pass } = scene();
  for (const scope of [first, second]) lanes.tell(scope);
  lane(first).active = 1;
  for (let second = 0; second < 29; second += 1) pass(1_000);
  expect(open()).toEqual(['p0', 'p1']);
  pass(1_000);
  expect(open()).toEqual(['p0']);
});

test('nobody who waits is forgotten, however long that takes', () => {
  const { lanes, open, lane, pass } = scene();
  for (const scope of scopes) lanes.tell(scope);
  const seen = new Set<string>();
  for (let turn = 0; turn < 20; turn += 1) {
    for (const scope of scopes) if (open().includes(scope.project)) lane(scope).active = 1;
    for (const project of open()) seen.add(project);
    pass(40_000);
  }
  expect([...seen].sort()).toEqual(scopes.map(({ project }) => project));
  expect(open()).toHaveLength(2);
});

test('every environment is looked at before long when nothing is there for most', () => {
  const { lanes, open, pass } = scene();
  for (const scope of scopes) lanes.tell(scope);
  pass(1_000);
  pass(1_000);
  expect(open()).toEqual([fifth.project, first.project]);
});

test('after the stop nothing is open', () => {
  const { lanes, open, pass } = scene();
  for (const scope of [first, second, third]) lanes.tell(scope);
  lanes.stop();
  pass(250);
  expect(open()).toEqual([]);
});
