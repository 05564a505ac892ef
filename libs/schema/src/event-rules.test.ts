import { test } from '@jest/globals';
import fc from 'fast-check';
import { isDeeperThan } from './event-rules.js';

test('the depth of JSON is counted outside of strings only', () => {
  const brackets = fc.string({ unit: fc.constantFrom('[', '{', '"', '\\', 'x', ']'), minLength: 1 });
  fc.assert(
    fc.property(fc.array(brackets), (strings) => !isDeeperThan(JSON.stringify([strings]).padEnd(10), 2)),
  );
});
