/** What the CLI touches of the process it runs in, so that tests can be its terminal. */
import { text } from 'node:stream/consumers';

export interface Terminal {
  env: NodeJS.ProcessEnv;
  print(line?: string): void;
  printError(line: string): void;
  /** All of standard input. */
  readInput(): Promise<string>;
}

export const processTerminal: Terminal = {
  env: process.env,
  print: (line = '') => void process.stdout.write(`${line}\n`),
  printError: (line) => void process.stderr.write(`${line}\n`),
  readInput: () => text(process.stdin),
};
