import { expect, test } from '@jest/globals';
import { IronflowError, messageOf, toHttpError } from './error.js';

test('a category decides the status, and code, message and field reach the client', () => {
  const error = new IronflowError('invalid', 'event_name_invalid', 'an event name has at most 8 tokens', {
    field: 'name',
  });
  expect(toHttpError(error)).toEqual({
    status: 400,
    body: {
      error: { code: 'event_name_invalid', message: 'an event name has at most 8 tokens', field: 'name' },
    },
  });
});

test('an unknown error tells the client nothing of itself', () => {
  const answer = toHttpError(new Error('password=hunter2'));
  expect(answer.status).toBe(500);
  expect(JSON.stringify(answer)).not.toContain('hunter2');
});

test('a retryable error carries when to come back', () => {
  const error = new IronflowError('unavailable', 'overloaded', 'too busy', { retryAfterSeconds: 2 });
  expect(toHttpError(error)).toMatchObject({ status: 503, retryAfterSeconds: 2 });
});

test('the message of what was thrown is found, error or not', () => {
  expect(messageOf(new Error('broken'))).toBe('broken');
  expect(messageOf('just text')).toBe('just text');
});
