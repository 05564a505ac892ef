/** A terminal that remembers: one run of the CLI inside the test's own process. */
import { runCli } from '../program.js';

export interface CliResult {
  exitCode: number;
  out: string;
  err: string;
}

export async function cli(
  args: string[],
  { env = {}, input = '' }: { env?: NodeJS.ProcessEnv; input?: string } = {},
): Promise<CliResult> {
  const out: string[] = [];
  const err: string[] = [];
  const exitCode = await runCli(args, {
    // Nothing of the developer's own settings.
    env: { IRONFLOW_DATA: '/nonexistent', ...env },
    print: (line = '') => void out.push(line),
    printError: (line) => void err.push(line),
    showProgress: () => undefined,
    readInput: async () => input,
    readHidden: async () => input,
  });
  return { exitCode, out: out.join('\n'), err: err.join('\n') };
}
