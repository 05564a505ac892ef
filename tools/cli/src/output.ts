/** How the CLI speaks: tables for people, JSON for programs, one line and exit code 1 for what went wrong. */
import { messageOf } from '@ironflow/errors';
import { IronflowApiError } from '@ironflow/sdk';

export function print(line = ''): void {
  process.stdout.write(`${line}\n`);
}

export function printJson(value: unknown): void {
  print(JSON.stringify(value, null, 2));
}

/** Columns as wide as their widest cell; numbers are given as text. */
export function printTable(headings: string[], rows: string[][]): void {
  const widths = headings.map((heading, column) =>
    Math.max(heading.length, ...rows.map((row) => (row[column] ?? '').length)),
  );
  for (const row of [headings, ...rows]) {
    print(
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    );
  }
}

export function fail(error: unknown): never {
  const where = error instanceof IronflowApiError && error.field !== undefined ? ` (${error.field})` : '';
  process.stderr.write(`ironflow: ${messageOf(error)}${where}\n`);
  process.exit(1);
}

/** A JSON argument; says which one is not. */
export function parseJsonArgument(text: string, name: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new Error(`${name} is not JSON: ${messageOf(error)}`, { cause: error });
  }
}
