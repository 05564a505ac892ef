import { expect, test } from '@jest/globals';
import { examine } from './ledger.js';
import type { LedgerLine } from './ledger.js';

const line = (what: LedgerLine['what'], at: number, over: Partial<LedgerLine> = {}): LedgerLine => ({
  what,
  run: 'r',
  step: 's',
  attempt: 1,
  atNanoseconds: String(at),
  ...over,
});

test('a step begun again while nothing was acknowledged is a repeat and no violation', () => {
  const findings = examine([line('begun', 1), line('begun', 5), line('acknowledged', 6)]);
  expect(findings).toEqual({ begun: 2, violations: [], repeats: 1 });
});

test('a step begun after its acknowledgement is a violation, wherever the lines stand', () => {
  const late = line('begun', 9);
  expect(examine([late, line('begun', 1), line('acknowledged', 6)]).violations).toEqual([late]);
});

test('another attempt is no repeat', () => {
  expect(examine([line('begun', 1), line('begun', 2, { attempt: 2 })]).repeats).toBe(0);
});
