import { expect, test } from '@jest/globals';
import { clockFindings } from './clock-findings.js';

const reading = (name: string, aheadMs: number, uncertaintyMs = 1) => ({ name, aheadMs, uncertaintyMs });
const failing = (...others: ReturnType<typeof reading>[]) =>
  clockFindings(others).flatMap(({ result, detail }) => (result === 'fail' ? [detail] : []));

test('clocks that are close to each other agree', () => {
  const findings = clockFindings([reading('PostgreSQL', 800), reading('nats-server a', -900)]);
  expect(findings).toEqual([
    { check: 'clocks', result: 'ok', detail: 'this machine, PostgreSQL, nats-server a agree' },
  ]);
});

test('of several the one that differs from most is named, this machine’s as well', () => {
  const hour = 3_600_000;
  expect(failing(reading('PostgreSQL', hour), reading('nats-server a', 3))).toEqual([
    expect.stringMatching(/^the clock of PostgreSQL is ahead by 3600 s/),
  ]);
  expect(failing(reading('PostgreSQL', hour), reading('nats-server a', hour + 5))).toEqual([
    expect.stringMatching(/^the clock of this machine is behind by 3600 s/),
  ]);
});

test('of two nobody can say which', () => {
  expect(failing(reading('PostgreSQL', -120_000))).toEqual([
    expect.stringMatching(/^this machine and PostgreSQL differ by 120 s/),
  ]);
});

test('what the way to a clock may account for is not held against it', () => {
  expect(failing(reading('PostgreSQL', 0), reading('far away', 63_000, 4_000))).toEqual([]);
});

test('some seconds are worth a note', () => {
  expect(clockFindings([reading('PostgreSQL', 0), reading('nats-server a', 10_000)])).toEqual([
    { check: 'clocks', result: 'ok', detail: expect.any(String) },
    { check: 'clocks', result: 'note', detail: expect.stringContaining('nats-server a is ahead by 10 s') },
  ]);
});
