import { expect, test } from '@jest/globals';
import { judgeBegins } from './flow-begins.js';

const letInMs = new Map([
  ['a', 0],
  ['b', 600],
  ['c', 1_200],
  ['d', 1_800],
]);
const judge = (begun: [run: string, atMs: number][]) =>
  judgeBegins({ places: [['a', 'b', 'c', 'd']], letInMs, begunMs: new Map(begun), periodMs: 1_000 });

test('runs that begin as evenly late as they were let in are no more in a period', () => {
  expect(
    judge([
      ['a', 90],
      ['b', 690],
      ['c', 1_290],
      ['d', 1_890],
    ]),
  ).toEqual({
    ...{ mostLetInInPeriod: 2, begun: 4, mostBegunInPeriod: 2, overtaken: 0, overtakenMsMost: 0 },
    lateMsThen: { least: 90, most: 90 },
    lateMs: { p50: 90, p99: 90, most: 90 },
  });
});

test('one that begins late meets those behind it, and it is told how late those of that period were', () => {
  const late = judge([
    ['a', 1_300],
    ['b', 610],
    ['c', 1_220],
    ['d', 1_900],
  ]);
  expect(late).toMatchObject({
    ...{ mostLetInInPeriod: 2, mostBegunInPeriod: 3, overtaken: 1, overtakenMsMost: 690 },
    lateMsThen: { least: 10, most: 1_300 },
    lateMs: { most: 1_300 },
  });
});

test('runs that did not begin are not counted', () => {
  expect(judge([['b', 700]])).toMatchObject({ begun: 1, mostBegunInPeriod: 1, mostLetInInPeriod: 2 });
  expect(judge([])).toMatchObject({ begun: 0, mostBegunInPeriod: 0 });
});
