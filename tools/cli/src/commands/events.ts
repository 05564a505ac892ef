/** `ironflow emit`, `ironflow invoke`. */
import { Command } from 'commander';
import type { EmitAnswer, RunResult } from '@ironflow/sdk';
import { parseTime, parseWait, readData } from '../input.js';
import type { WaitDuration } from '../input.js';
import { printJson, printTable } from '../output.js';
import { requireSuccess } from '../run-outcome.js';
import { openSession } from '../session.js';
import type { Terminal } from '../terminal.js';

interface EmitFlags {
  wait?: WaitDuration;
  idempotencyKey?: string;
}

export function eventCommands(terminal: Terminal): Command[] {
  const emit = withFlags(new Command('emit').description('emit an event'))
    .argument('<name>', 'such as order.placed')
    .argument('[data]', 'JSON; "-" reads it from standard input', '{}')
    .option('--at <time>', 'deliver it then, at most a year ahead; `scheduled list` shows it', parseTime)
    .action(async (name: string, data: string, flags: EmitFlags & { at?: string }, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const { wait, ...rest } = flags;
      const event = { name, data: await readData(terminal, data), ...rest };
      report(terminal, await client.emit(event, wait === undefined ? {} : { wait }), { wait, json });
    });
  const invoke = withFlags(new Command('invoke').description('start one function'))
    .argument('<function>', 'its id')
    .argument('[data]', 'JSON, the event’s data; "-" reads it from standard input', '{}')
    .action(async (functionId: string, data: string, flags: EmitFlags, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const answer = await client.invoke(functionId, await readData(terminal, data), flags);
      report(terminal, answer, { ...flags, json });
    });
  return [emit, invoke];
}

function withFlags(command: Command): Command {
  return command
    .option(
      '--wait <duration>',
      'answer when the runs have ended, or after this long (≤ 1m); exit code 1 if one failed or has not ended',
      parseWait,
    )
    .option('--idempotency-key <key>', 'the same key within 24 hours stores and starts nothing new');
}

function report(
  terminal: Terminal,
  answer: EmitAnswer,
  { wait, json }: { wait?: WaitDuration | undefined; json: boolean },
): void {
  if (json) printJson(terminal, answer);
  else printAnswer(terminal, answer);
  if (wait !== undefined) requireSuccess(terminal, answer.runs, json);
}

function printAnswer(terminal: Terminal, answer: EmitAnswer): void {
  for (const id of answer.ids) terminal.print(`event ${id}`);
  if (answer.runs === undefined) return;
  if (answer.runs.length === 0) return terminal.print('no function matched');
  printTable(
    terminal,
    ['RUN', 'FUNCTION', 'STATUS', 'RESULT'],
    answer.runs.map((run) => [run.id, run.functionId, statusOf(run), resultOf(run)]),
  );
}

function statusOf({ status, skipReason }: RunResult): string {
  return skipReason === undefined ? status : `${status}: ${skipReason}`;
}

function resultOf({ error, output, joinedRunId }: RunResult): string {
  if (error !== undefined) return `${error.name}: ${error.message}`;
  return joinedRunId === undefined ? (JSON.stringify(output) ?? '') : `see run ${joinedRunId}`;
}
