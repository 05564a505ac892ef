/** What the CLI touches of the process it runs in, so that tests can be its terminal. */
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { text } from 'node:stream/consumers';

export interface Terminal {
  env: NodeJS.ProcessEnv;
  print(line?: string): void;
  printError(line: string): void;
  /** In place of the one before, where a person looks on; nothing with an empty line. */
  showProgress(line: string): void;
  /** All of standard input. */
  readInput(): Promise<string>;
  /** The same, but a person is asked, for one line, and what is typed is not shown. */
  readHidden(prompt: string): Promise<string>;
}

const readInput = (): Promise<string> => text(process.stdin);

export const processTerminal: Terminal = {
  env: process.env,
  print: (line = '') => void process.stdout.write(`${line}\n`),
  printError: (line) => void process.stderr.write(`${line}\n`),
  showProgress: (line) => {
    if (process.stderr.isTTY) process.stderr.write(`\r\u001b[2K${line}`);
  },
  readInput,
  readHidden: (prompt) => (process.stdin.isTTY ? askHidden(prompt) : readInput()),
};

async function askHidden(prompt: string): Promise<string> {
  process.stderr.write(prompt);
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const reader = createInterface({ input: process.stdin, output: nowhere, terminal: true });
  try {
    return await new Promise<string>((resolve, reject) => {
      reader.once('line', resolve);
      for (const end of ['SIGINT', 'close']) reader.once(end, () => reject(new Error('no value was given')));
    });
  } finally {
    reader.close();
    process.stderr.write('\n');
  }
}
