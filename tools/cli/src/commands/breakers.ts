/** `ironflow breakers list|show|open|reset`. */
import { Command, Option } from 'commander';
import type { Breaker, BreakersQuery } from '@ironflow/sdk';
import { parseLongDuration } from '../input.js';
import type { LongDuration } from '../input.js';
import { plain, printJson, printTable } from '../output.js';
import { openSession } from '../session.js';
import type { Terminal } from '../terminal.js';

export function breakerCommands(terminal: Terminal): Command {
  return new Command('breakers')
    .description('circuit breakers: whether functions are called, and who keeps them from it')
    .addCommand(listCommand(terminal))
    .addCommand(showCommand(terminal))
    .addCommand(openCommand(terminal))
    .addCommand(resetCommand(terminal));
}

function listCommand(terminal: Terminal): Command {
  return new Command('list')
    .description('those that are not closed, or have counted a failed call lately')
    .addOption(new Option('--state <state>', 'only those').choices(['closed', 'open', 'half_open']))
    .option('--function <id>', 'only those of this function')
    .action(async (query: BreakersQuery, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const list = await client.breakers.list(query);
      if (json) return printJson(terminal, list);
      if (list.breakers.length === 0) return terminal.print('no breakers: none is open');
      printTable(
        terminal,
        ['FUNCTION', 'STATE', 'SINCE', 'NEXT PROBE', 'FAILED CALLS', 'ENDPOINT'],
        list.breakers.map((breaker) => [
          breaker.functionId,
          stateOf(breaker),
          breaker.openedAt ?? '',
          breaker.probeFrom ?? '',
          `${breaker.failures} of ${breaker.calls}`,
          breaker.endpoint,
        ]),
      );
      if (!list.isComplete) terminal.print('\nthere are more: --state or --function finds them');
    });
}

const functionArgument = ['<function>', 'its id'] as const;
const endpointOption = [
  '--endpoint <url>',
  'another than the one at which the function is called now; "worker" for a pull app',
] as const;

interface Flags {
  endpoint?: string;
}

function showCommand(terminal: Terminal): Command {
  return new Command('show')
    .description('the breaker of one function')
    .argument(...functionArgument)
    .option(...endpointOption)
    .action(async (functionId: string, flags: Flags, command: Command) => {
      const { client, json } = openSession(command, terminal);
      say(terminal, await client.breakers.get(functionId, flags), json);
    });
}

function openCommand(terminal: Terminal): Command {
  return new Command('open')
    .description('keep a function from being called until it is reset; its runs wait and use up no attempt')
    .argument(...functionArgument)
    .option(...endpointOption)
    .option(
      '--for <duration>',
      'for so long only, such as 10m; then one call is let through to see',
      parseLongDuration,
    )
    .action(async (functionId: string, flags: Flags & { for?: LongDuration }, command: Command) => {
      const { client, json } = openSession(command, terminal);
      say(terminal, await client.breakers.open(functionId, flags), json);
    });
}

function resetCommand(terminal: Terminal): Command {
  return new Command('reset')
    .description('close a breaker, whoever opened it')
    .argument(...functionArgument)
    .option(...endpointOption)
    .action(async (functionId: string, flags: Flags, command: Command) => {
      const { client, json } = openSession(command, terminal);
      say(terminal, await client.breakers.reset(functionId, flags), json);
    });
}

function say(terminal: Terminal, breaker: Breaker, json: boolean): void {
  if (json) return printJson(terminal, breaker);
  const fields: [string, string | undefined][] = [
    ['function', breaker.functionId],
    ['endpoint', breaker.endpoint],
    ['state', stateOf(breaker)],
    ['since', breaker.openedAt],
    ['probe', breaker.probeSince === undefined ? breaker.probeFrom : `under way since ${breaker.probeSince}`],
    ['failed', `${breaker.failures} of ${breaker.calls} calls, ${breaker.consecutiveFailures} in a row`],
  ];
  for (const [name, value] of fields) {
    if (value !== undefined) terminal.print(`${name.padEnd(9)} ${plain(value)}`);
  }
}

function stateOf({ state, forced }: Breaker): string {
  if (forced === undefined) return state;
  return `forced open ${forced.until === undefined ? 'until it is reset' : `until ${forced.until}`}`;
}
