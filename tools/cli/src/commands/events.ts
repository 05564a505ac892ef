/** `ironflow emit`, `ironflow invoke`. */
import { Command } from 'commander';
import type { EmitAnswer, WaitOptions } from '@ironflow/sdk';
import { parseJsonArgument, print, printJson, printTable } from '../output.js';
import { openSession } from '../session.js';

interface EmitFlags {
  wait?: string;
  idempotencyKey?: string;
}

const waitHelp = 'answer when the runs have ended, or after this long, such as 30s';

export function eventCommands(): Command[] {
  const emit = new Command('emit')
    .description('emit an event')
    .argument('<name>', 'such as order.placed')
    .argument('[data]', 'JSON', '{}')
    .option('--wait <duration>', waitHelp)
    .option('--idempotency-key <key>', 'the same key within 24 hours stores nothing new')
    .action(async (name: string, data: string, flags: EmitFlags, command: Command) => {
      const session = openSession(command);
      const event = {
        name,
        data: parseJsonArgument(data, 'data'),
        ...(flags.idempotencyKey === undefined ? {} : { idempotencyKey: flags.idempotencyKey }),
      };
      report(await session.client.emit(event, waitOf(flags)), session.json);
    });
  const invoke = new Command('invoke')
    .description('start one function by its id')
    .argument('<function>')
    .argument('[data]', 'JSON, the event’s data', '{}')
    .option('--wait <duration>', waitHelp)
    .option('--idempotency-key <key>', 'the same key within 24 hours starts nothing new')
    .action(async (functionId: string, data: string, flags: EmitFlags, command: Command) => {
      const session = openSession(command);
      const options = {
        ...waitOf(flags),
        ...(flags.idempotencyKey === undefined ? {} : { idempotencyKey: flags.idempotencyKey }),
      };
      report(await session.client.invoke(functionId, parseJsonArgument(data, 'data'), options), session.json);
    });
  return [emit, invoke];
}

function waitOf(flags: EmitFlags): WaitOptions {
  return flags.wait === undefined ? {} : { wait: flags.wait as NonNullable<WaitOptions['wait']> };
}

function report(answer: EmitAnswer, json: boolean): void {
  if (json) return printJson(answer);
  for (const id of answer.ids) print(`event ${id}`);
  if (answer.runs === undefined) return;
  if (answer.runs.length === 0) return print('no function matched');
  printTable(
    ['RUN', 'FUNCTION', 'STATUS', 'RESULT'],
    answer.runs.map((run) => [
      run.id,
      run.functionId,
      run.status,
      run.error === undefined
        ? (JSON.stringify(run.output) ?? '')
        : `${run.error.name}: ${run.error.message}`,
    ]),
  );
}
