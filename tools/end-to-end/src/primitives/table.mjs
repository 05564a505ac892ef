// The table of primitives as a document, made of the titles and outcomes of its tests. Pure.
import { caseNames, modes, primitiveNames } from './names.mjs';

const titlePattern = new RegExp(
  `^(?<name>.+) × (?<mode>${modes.join('|')}) × (?<caseName>${caseNames.join('|')})(?: cannot exist: (?<why>.+))?$`,
);

/** `results`: `{ title, passed }` of every test; those that are no cells are passed over. */
export function readCells(results) {
  const cells = new Map();
  for (const { title, passed } of results) {
    const { name, mode, caseName, why } = titlePattern.exec(title)?.groups ?? {};
    if (name !== undefined) cells.set(`${name} × ${mode} × ${caseName}`, { passed, why });
  }
  return cells;
}

/** What keeps the table from being written: cells without a test, or whose test has failed. */
export function faultsOf(cells) {
  return allCells().flatMap((cell) => {
    const { passed } = cells.get(cell) ?? {};
    if (passed === undefined) return [`${cell}: has no test`];
    return passed ? [] : [`${cell}: its test has failed`];
  });
}

export function drawTable(cells) {
  const notes = [];
  const numberOf = (why) => {
    if (!notes.includes(why)) notes.push(why);
    return notes.indexOf(why) + 1;
  };
  const draw = (cell) => {
    const { why } = cells.get(cell);
    return why === undefined ? '✓' : `– (${numberOf(why)})`;
  };
  const rows = primitiveNames.flatMap((name) =>
    modes.map((mode) => {
      const drawn = caseNames.map((caseName) => draw(`${name} × ${mode} × ${caseName}`));
      return `| \`${name}\` | ${mode} | ${drawn.join(' | ')} |`;
    }),
  );
  return [
    '| primitive | mode | happy | failure | timeout | crash in the middle | cancel |',
    '|---|---|---|---|---|---|---|',
    ...rows,
    '',
    'What is not there:',
    '',
    ...notes.map((why, index) => `${index + 1}. ${why}`),
  ].join('\n');
}

function allCells() {
  return primitiveNames.flatMap((name) =>
    modes.flatMap((mode) => caseNames.map((caseName) => `${name} × ${mode} × ${caseName}`)),
  );
}
