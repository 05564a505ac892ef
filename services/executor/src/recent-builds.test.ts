import { expect, test } from '@jest/globals';
import { createRecentBuilds } from './recent-builds.js';

const scope = { environmentId: 'e' };
const build = (buildId: string, appId = 'app') => ({ scope, appId, buildId });

function setup() {
  let now = 0;
  const recent = createRecentBuilds({ buildsMax: 2, keptMs: 100, nowMs: () => now });
  return { recent, pass: (ms: number) => (now += ms) };
}

test('an app has so many builds and no more; those that it has go on, and other apps and the lane of all builds are free', () => {
  const { recent } = setup();
  for (const id of ['a', 'b', 'a']) {
    expect(recent.admits(build(id))).toBe(true);
    recent.opened(build(id));
  }
  expect(recent.admits(build('c'))).toBe(false);
  expect(recent.admits(build('a'))).toBe(true);
  expect(recent.admits(build('c', 'other'))).toBe(true);
  expect(recent.admits({ scope: { environmentId: 'other' }, appId: 'app', buildId: 'c' })).toBe(true);
  expect(recent.admits({ scope, appId: 'app' })).toBe(true);
});

test('a build counts for as long as it has a worker, and as long afterwards as its consumer is kept', () => {
  const { recent, pass } = setup();
  for (const id of ['a', 'b']) recent.opened(build(id));
  pass(1_000);
  recent.closed(build('a'));
  expect(recent.admits(build('c'))).toBe(false);
  pass(99);
  expect(recent.admits(build('c'))).toBe(false);
  pass(1);
  expect(recent.admits(build('c'))).toBe(true);
  recent.opened(build('c'));
  recent.closed(build('b'));
  recent.opened(build('b'));
  pass(1_000);
  expect(recent.admits(build('a'))).toBe(false);
});
