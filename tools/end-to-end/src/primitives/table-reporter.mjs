// A reporter of jest: once all tests of the table have run, docs/primitives.md must show what they say. With UPDATE_DOCS=true
// it is written. A run of some of them alone says nothing about the table.
import { readdirSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { settleGenerated } from '../generated-docs.mjs';
import { drawTable, faultsOf, readCells } from './table.mjs';

const folder = fileURLToPath(new URL('.', import.meta.url));
const document = fileURLToPath(new URL('../../../../docs/primitives.md', import.meta.url));

export default class TableReporter {
  #fault;

  onRunComplete(_contexts, { testResults }) {
    const own = testResults.filter(({ testFilePath }) => dirname(testFilePath) === folder.slice(0, -1));
    const ran = new Set(own.map(({ testFilePath }) => basename(testFilePath)));
    const tests = own.flatMap((file) => file.testResults);
    const isWhole =
      readdirSync(folder).every((name) => !name.endsWith('.integration.test.ts') || ran.has(name)) &&
      tests.every(({ status }) => status !== 'pending');
    if (!isWhole) return;
    const cells = readCells(tests.map(({ title, status }) => ({ title, passed: status === 'passed' })));
    const faults = faultsOf(cells);
    if (faults.length > 0) this.#fault = new Error(`docs/primitives.md: ${faults.join('\n')}`);
    else this.#fault = settleGenerated(document, 'table', drawTable(cells));
  }

  /** What fails the run although every test has passed. */
  getLastError() {
    return this.#fault;
  }
}
