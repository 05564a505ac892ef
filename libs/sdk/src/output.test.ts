import { expect, test } from '@jest/globals';
import { OutputError, readOutput, writeOutput } from './output.js';

class Money {
  constructor(private readonly cents: number) {}
  toJSON(): unknown {
    return { cents: this.cents };
  }
}
class CodedError extends Error {
  toJSON(): unknown {
    return { code: 7 };
  }
}

test.each([
  ['nothing', undefined, undefined],
  ['null', null, null],
  ['a Date', { at: new Date(0) }, { at: '1970-01-01T00:00:00.000Z' }],
  ['what has a form of its own', [new Money(5), new CodedError()], [{ cents: 5 }, { code: 7 }]],
  ['a field that is undefined', { a: 1, b: undefined }, { a: 1 }],
  ['4 MiB', 'x'.repeat(4 * 1024 * 1024 - 2), 'x'.repeat(4 * 1024 * 1024 - 2)],
])('an output may be %s', (_, value, stored) => {
  expect(readOutput(writeOutput(value))).toEqual(stored);
});

const circle: { self?: unknown } = {};
circle.self = circle;
let deep: unknown = 1;
for (let depth = 0; depth < 100_000; depth += 1) deep = [deep];

test.each([
  ['a BigInt', { n: 1n }, 'it contains a BigInt'],
  ['a function', () => 1, 'it is a function'],
  ['a function inside', { user: { save: () => 1 } }, 'there is a function at "user.save"'],
  ['a symbol in a list', { rows: [[Symbol('x')]] }, 'there is a symbol at "rows[0][0]"'],
  ['no number', Number.NaN, 'it is NaN'],
  ['a number without end', { total: -Infinity }, 'there is -Infinity at "total"'],
  ['a Map', { users: [{}, new Map([['a', 1]])] }, 'there is a Map at "users[1]"'],
  ['a Set', new Set([1]), 'it is a Set'],
  ['an error', { failed: new TypeError('secret') }, 'there is an Error at "failed"'],
  ['a promise that nobody awaited', [Promise.resolve(1)], 'there is a Promise at "[0]"'],
  ['a Date that is none', { at: new Date('x') }, 'there is an invalid Date at "at"'],
  ['a circle', circle, 'it refers to itself'],
  ['100,000 lists in one another', deep, 'it is nested too deeply'],
])('an output must not be %s', (_, value, problem) => {
  expect(() => writeOutput(value)).toThrow(
    new OutputError(`the output cannot be stored as JSON: ${problem}`),
  );
});

test('an output is at most 4 MiB, in bytes', () => {
  expect(() => writeOutput('é'.repeat(2 * 1024 * 1024))).toThrow(
    'the output is 4194306 bytes of JSON, above the limit of 4194304 bytes',
  );
  expect(writeOutput('é'.repeat(2 * 1024 * 1024 - 1))).toHaveLength(2 * 1024 * 1024 + 1);
});
