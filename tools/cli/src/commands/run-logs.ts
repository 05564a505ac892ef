/** `ironflow runs logs`. */
import { Command, Option } from 'commander';
import { logLevels } from '@ironflow/schema';
import type { Client, RunLogLine, RunLogsQuery } from '@ironflow/sdk';
import { plain } from '../output.js';
import { openSession } from '../session.js';
import type { Terminal } from '../terminal.js';

type LogsFlags = Partial<Pick<RunLogsQuery, 'level' | 'step'>> & { follow: boolean };

export function logsCommand(terminal: Terminal): Command {
  return new Command('logs')
    .description('what the logger of a run wrote, the oldest line first; with --json an object a line')
    .argument('<run id>', 'as `runs list` and `emit --wait` print it')
    .option('--follow', 'go on with what comes, until the run has ended', false)
    .addOption(new Option('--level <level>', 'only that level and those above it').choices(logLevels))
    .option('--step <id>', 'only lines of this step, as `runs show` names it')
    .action(async (runId: string, { follow, ...filter }: LogsFlags, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const lines = follow ? client.runs.followLogs(runId, filter) : storedLines(client, runId, filter);
      let count = 0;
      for await (const line of lines) {
        terminal.print(json ? JSON.stringify(line) : describeLogLine(line));
        count += 1;
      }
      if (count === 0 && !json) terminal.print('no lines');
    });
}

const pageLines = 1_000;

async function* storedLines(
  client: Client,
  runId: string,
  filter: Omit<LogsFlags, 'follow'>,
): AsyncIterableIterator<RunLogLine> {
  let cursor: string | undefined;
  do {
    const page = await client.runs.logs(runId, { ...filter, limit: pageLines, cursor });
    yield* page.lines;
    cursor = page.nextCursor;
  } while (cursor !== undefined);
}

export function describeLogLine({ at, level, message, fields, step }: RunLogLine): string {
  const attempt = step === undefined || step.attempt === 1 ? '' : ` #${step.attempt}`;
  const place = step === undefined ? '' : `[${step.id}${attempt}] `;
  const more = fields === undefined ? '' : ` ${JSON.stringify(fields)}`;
  return plain(`${at} ${level.padEnd(5)} ${place}${message}${more}`);
}
