import { expect, test } from '@jest/globals';
import { canRead, schemaMajor } from './headers.js';

test.each([
  [undefined, true],
  ['', true],
  [`${schemaMajor}.0`, true],
  [`${schemaMajor}.99`, true],
  [`${schemaMajor + 1}.0`, false],
  ['garbage', true],
  ['NaN', true],
])('a message of version %p can be read: %p', (version, expected) => {
  expect(canRead(version)).toBe(expected);
});
