/** How the CLI speaks: tables for people, JSON for programs, one line for what went wrong. */
import { IronflowError, messageOf } from '@ironflow/errors';
import { ConfigurationError, IronflowApiError } from '@ironflow/sdk';
import type { Terminal } from './terminal.js';

export function printJson(terminal: Terminal, value: unknown): void {
  terminal.print(JSON.stringify(value, null, 2));
}

/** Columns as wide as their widest cell. */
export function printTable(terminal: Terminal, headings: string[], rows: string[][]): void {
  const table = [headings, ...rows.map((row) => row.map(plain))];
  const widths = headings.map((_, column) => Math.max(...table.map((row) => (row[column] ?? '').length)));
  for (const row of table) {
    const cells = row.map((cell, column) => cell.padEnd(widths[column] ?? 0));
    terminal.print(cells.join('  ').trimEnd());
  }
}

const controlCharacters = /[\p{Cc}\u2028\u2029]+/gu;

/** What came from elsewhere, on one line and without the power to move the cursor or recolour the terminal. */
export function plain(text: string): string {
  return text.replace(controlCharacters, ' ').trim();
}

interface FailureDescription {
  code: string;
  message: string;
  field?: string;
}

/** One line on standard error; with `json` an object on one line. */
export function printFailure(terminal: Terminal, error: unknown, json: boolean): void {
  const { code, message, field } = describe(error);
  if (json) {
    terminal.printError(
      JSON.stringify({ error: { code, message, ...(field === undefined ? {} : { field }) } }),
    );
    return;
  }
  const isNamed = field === undefined || message.startsWith(field);
  terminal.printError(`ironflow: ${plain(isNamed ? message : `${field}: ${message}`)}`);
}

function describe(error: unknown): FailureDescription {
  if (error instanceof IronflowApiError || error instanceof IronflowError) {
    const { code, message, field } = error;
    const hint = code === 'unreachable' ? ': is the platform running? (`ironflow doctor` looks closer)' : '';
    return { code, message: message + hint, ...(field === undefined ? {} : { field }) };
  }
  if (error instanceof ConfigurationError) return { code: 'invalid_input', message: error.message };
  return { code: 'failed', message: messageOf(error) };
}
