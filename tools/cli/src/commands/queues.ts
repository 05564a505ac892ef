/** `ironflow queues`. */
import { Command } from 'commander';
import type { Queue, QueuesList } from '@ironflow/sdk';
import { describeCount, describeCounts, describeSlot } from '../flow-control.js';
import { plain, printJson, printTable } from '../output.js';
import { openSession } from '../session.js';
import type { Terminal } from '../terminal.js';

export function queuesCommand(terminal: Terminal): Command {
  return new Command('queues')
    .description(
      'runs that flow control or a pause keeps waiting; of one function also for what, and who holds the slots',
    )
    .argument('[function]', 'its id')
    .action(async (functionId: string | undefined, _flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      if (functionId === undefined) {
        const list = await client.queues.list();
        return json ? printJson(terminal, list) : printQueues(terminal, list);
      }
      const queue = await client.functions.queue(functionId);
      if (json) printJson(terminal, queue);
      else printQueue(terminal, queue);
    });
}

function printQueues(terminal: Terminal, { pausedAt, queues }: QueuesList): void {
  if (pausedAt !== undefined) terminal.print(`the environment is paused since ${pausedAt}`);
  if (queues.length === 0) return terminal.print('nothing waits');
  printTable(
    terminal,
    ['FUNCTION', 'WAITING', 'NEXT AT', 'PAUSED SINCE'],
    queues.map((queue) => [
      queue.functionId,
      describeCounts(queue),
      queue.nextAt ?? '',
      queue.pausedAt ?? '',
    ]),
  );
}

function printQueue(terminal: Terminal, queue: Queue): void {
  if (queue.pausedAt !== undefined) terminal.print(`paused since ${queue.pausedAt}`);
  terminal.print(`waiting: ${describeCounts(queue)}`);
  if (queue.groups.length > 0) {
    printTable(
      terminal,
      ['FOR', 'KEY', 'RUNS', 'EVENTS', 'SINCE', 'UNTIL'],
      queue.groups.map(({ rule = 'ready', key = '', runs, events, since = '', until = '' }) => [
        rule,
        key,
        describeCount(runs),
        events === undefined ? '' : String(events),
        since,
        until,
      ]),
    );
  }
  for (const slot of queue.slots) {
    terminal.print(plain(describeSlot(slot)));
    for (const { id, since } of slot.runs) terminal.print(`  ${id} since ${since}`);
  }
}
