import { expect, test } from '@jest/globals';
import { namesOf, wholeNumber, wholeNumbers } from './option-values.js';

test('numbers within their bounds are taken, and nothing else', () => {
  expect(wholeNumber(1, 60)('60')).toBe(60);
  expect(wholeNumbers(1, 256)('1,64')).toEqual([1, 64]);
  for (const text of ['0', '61', 'x', '', '1.5', '-1', '1e1']) {
    expect(() => wholeNumber(1, 60)(text)).toThrow('whole number from 1 to 60');
  }
  for (const text of ['1,', '1,x', '']) expect(() => wholeNumbers(1, 60)(text)).toThrow('whole number');
});

test('a name that is not known is refused beside those that are', () => {
  expect(namesOf(['a', 'b'])('b,a')).toEqual(['b', 'a']);
  expect(() => namesOf(['a', 'b'])('a,typo')).toThrow('There is no typo.');
});
