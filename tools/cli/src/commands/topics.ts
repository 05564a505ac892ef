/** `ironflow topics publish|watch`. */
import { Command } from 'commander';
import { readData } from '../input.js';
import { plain, printJson } from '../output.js';
import { openSession } from '../session.js';
import type { Terminal } from '../terminal.js';

export function topicCommands(terminal: Terminal): Command {
  return new Command('topics')
    .description('messages for whoever listens')
    .addCommand(publishCommand(terminal))
    .addCommand(watchCommand(terminal));
}

function publishCommand(terminal: Terminal): Command {
  return new Command('publish')
    .description('publish a message to a topic')
    .argument('<topic>', 'such as orders.shipped')
    .argument('[data]', 'JSON; "-" reads it from standard input', 'null')
    .option('--idempotency-key <key>', 'the same key within 10 minutes publishes nothing more')
    .action(async (topic: string, data: string, flags: { idempotencyKey?: string }, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const answer = await client.topics.publish(topic, await readData(terminal, data), flags);
      if (json) printJson(terminal, answer);
      else terminal.print(`message ${answer.id}`);
    });
}

function watchCommand(terminal: Terminal): Command {
  return new Command('watch')
    .description('messages as they come, until it is interrupted; with --json an object a line')
    .argument('<pattern>', 'a topic, or a pattern such as orders.*')
    .option('--after <id>', 'begin behind the message of this id, as far as it is kept')
    .action(async (pattern: string, flags: { after?: string }, command: Command) => {
      const { client, json } = openSession(command, terminal);
      for await (const message of client.topics.subscribe(pattern, flags)) {
        const line = `${message.id} ${plain(message.topic)} ${JSON.stringify(message.data)}`;
        terminal.print(json ? JSON.stringify(message) : line);
      }
    });
}
