import { expect, test } from '@jest/globals';
import { caseNames, modes, primitiveNames } from './names.mjs';
import { drawTable, faultsOf, readCells } from './table.mjs';

const titles = primitiveNames.flatMap((name) =>
  modes.flatMap((mode) => caseNames.map((caseName) => `${name} × ${mode} × ${caseName}`)),
);
const passed = (title: string) => ({ title, passed: true });
const withReason = (title: string) =>
  title.includes('× timeout') ? `${title} cannot exist: no time` : title;

test('a table has a line for each primitive and mode, and says once why cells cannot exist', () => {
  const cells = readCells([passed('something else'), ...titles.map(withReason).map(passed)]);
  expect(faultsOf(cells)).toEqual([]);
  const lines = drawTable(cells).split('\n');
  expect(lines.filter((line) => line.includes('| push |'))).toHaveLength(primitiveNames.length);
  expect(lines).toContain('| `step.run` | pull | ✓ | ✓ | – (1) | ✓ | ✓ |');
  expect(lines.at(-1)).toBe('1. no time');
});

test('a cell without a test, and one whose test has failed, are faults', () => {
  const [first, second, ...others] = titles;
  const cells = readCells([{ title: second!, passed: false }, ...others.map(passed)]);
  expect(faultsOf(cells)).toEqual([`${first!}: has no test`, `${second!}: its test has failed`]);
});
