import { expect, test } from '@jest/globals';
import { asDatabaseError, isRefusedData } from './database-error.js';

const withCode = (code: string): Error => Object.assign(new Error('failed'), { code });

test.each(['22P02', '22021', '23505', '54001', '21000'])('%s is the fault of the data', (code) => {
  expect(isRefusedData(withCode(code))).toBe(true);
  expect(asDatabaseError(withCode(code))).toMatchObject({ code });
});

test.each(['40P01', '57014', '42601', 'ECONNRESET', '57P01', '53100'])('%s is not', (code) => {
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
  '53100',
  '53200',
  '57014',
  '55P03',
  '40P01',
  '25006',
])('%s means that the database is away for now', (code) => {
  const unavailable = { category: 'unavailable', code: 'database_unavailable' };
  expect(asDatabaseError(withCode(code))).toMatchObject(unavailable);
  expect(asDatabaseError(new AggregateError([withCode(code)]))).toMatchObject(unavailable);
});

test.each(['ERR_INVALID_ARG_TYPE', 'EACCES', '42601', '42501'])('%s is somebody’s mistake', (code) => {
  expect(asDatabaseError(withCode(code))).toMatchObject({ code });
});

test.each(['Connection terminated unexpectedly', 'Query read timeout'])(
  'what the driver says without a code is recognised too: %s',
  (message) => {
    const error = new Error(message);
    expect(asDatabaseError(error)).toMatchObject({ code: 'database_unavailable', cause: error });
  },
);
