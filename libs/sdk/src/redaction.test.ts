import { expect, test } from '@jest/globals';
import { toFailure } from './failure.js';
import { createLogger } from './logger.js';
import type { LogLine } from './logger.js';
import { keepSecret, redact, redactText } from './redaction.js';

test('a secret is replaced wherever it stands in a text, also within JSON, and the longer one first', () => {
  keepSecret('hunter2!');
  keepSecret('hunter2!-and-more');
  keepSecret('line one\n"line two"');
  expect(redactText('a hunter2! b hunter2!-and-more')).toBe('a [secret] b [secret]');
  expect(redactText(JSON.stringify({ pem: 'line one\n"line two"' }))).toBe('{"pem":"[secret]"}');
});

test('a value that is shorter than six characters is a part of too many words', () => {
  keepSecret('short');
  expect(redactText('a short text')).toBe('a short text');
});

test('within what is logged it is found at any depth, and what is no text stays as it is', () => {
  keepSecret('deep-secret');
  const at = new Date(0);
  const logged = {
    at,
    count: 7,
    list: ['deep-secret', { text: 'x deep-secret' }],
    map: new Map([['deep-secret', 'deep-secret']]),
    'deep-secret': null,
  };
  expect(redact(logged)).toEqual({
    at,
    count: 7,
    list: ['[secret]', { text: 'x [secret]' }],
    map: new Map([['[secret]', '[secret]']]),
    '[secret]': null,
  });
  expect(logged.list[0]).toBe('deep-secret');
});

test('a circle ends, and an error that is logged is one still', () => {
  keepSecret('round-secret');
  const circle: Record<string, unknown> = { text: 'round-secret' };
  circle.self = circle;
  expect(JSON.stringify(redact(circle))).not.toContain('round-secret');
  const error = redact(
    Object.assign(new TypeError('of round-secret', { cause: new Error('round-secret') }), { code: 7 }),
  );
  expect(error).toBeInstanceOf(Error);
  expect(error).toMatchObject({
    name: 'TypeError',
    message: 'of [secret]',
    code: 7,
    cause: { message: '[secret]' },
  });
  expect((error as Error).stack).not.toContain('round-secret');
});

test('a recorded failure has neither a secret nor the part of one that a cut would leave', () => {
  const secret = 'S'.repeat(100);
  keepSecret(secret);
  const failure = toFailure(new Error(`${'x'.repeat(8_150)}${secret}`));
  expect(failure.message).toContain('[secret]');
  expect(failure.message).not.toContain('SSS');
  expect(failure.stack).not.toContain('SSS');
  expect(toFailure(`thrown ${secret}`).message).toBe('thrown [secret]');
});

test('a logger hands on neither in its message nor in its fields', () => {
  keepSecret('logged-secret');
  const lines: LogLine[] = [];
  const logger = createLogger({ log: (line) => lines.push(line), fields: { runId: 'r' } });
  logger.info('with logged-secret', { key: 'logged-secret' });
  expect(lines).toEqual([
    { level: 'info', message: 'with [secret]', fields: { key: '[secret]', runId: 'r' } },
  ]);
});
