import { expect, test } from '@jest/globals';
import { asDatabaseError, isRefusedData } from './database-error.js';

const withCode = (code: string): Error => Object.assign(new Error('failed'), { code });

test.each(['22P02', '22021', '23505', '54001', '21000'])('%s is the fault of the data', (code) => {
  expect(isRefusedData(withCode(code))).toBe(true);
  expect(asDatabaseError(withCode(code))).toMatchObject({ code });
});

test.each(['40P01', '57014', '42601', 'ECONNRESET', '57P01'])('%s is not', (code) => {
  expect(isRefusedData(withCode(code))).toBe(false);
});

test.each([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'EAI_AGAIN',
  '57P01',
  '57P03',
  '08006',
  '53300',
  '25006',
])('%s means that the database is away for now', (code) => {
  const unavailable = { category: 'unavailable', code: 'database_unavailable' };
  expect(asDatabaseError(withCode(code))).toMatchObject(unavailable);
  expect(asDatabaseError(new AggregateError([withCode(code)]))).toMatchObject(unavailable);
});

test('a connection that ended without a code is recognised too', () => {
  const error = new Error('Connection terminated unexpectedly');
  expect(asDatabaseError(error)).toMatchObject({ code: 'database_unavailable', cause: error });
});
