import { expect, test } from '@jest/globals';
import { chooseRestored, chooseStreams } from './choice.js';

const names = [
  'EVENTS',
  'INGEST',
  'KV_APP_1_stock',
  'KV_SYS_workers',
  'OBJ_files',
  'PUBSUB',
  'RESULTS',
  'theirs',
];

test.each([
  ['all', names],
  ['buckets', ['KV_APP_1_stock', 'KV_SYS_workers', 'OBJ_files']],
  ['streams', ['EVENTS', 'INGEST', 'PUBSUB', 'RESULTS', 'theirs']],
  ['RESULTS, KV_APP_1_stock', ['KV_APP_1_stock', 'RESULTS']],
])('--only %s', (only, chosen) => {
  expect(chooseStreams(names, only)).toEqual(chosen);
});

test('a name that there is not is refused', () => {
  expect(() => chooseStreams(names, 'RESULTS,x,y')).toThrow('--only: there is no stream x, y');
});

test('what lives in NATS alone is restored, unless something else is said', () => {
  expect(chooseRestored(names, undefined)).toEqual([
    'INGEST',
    'KV_APP_1_stock',
    'OBJ_files',
    'PUBSUB',
    'theirs',
  ]);
  expect(chooseRestored(names, 'all')).toEqual(names);
});
