/** `ironflow apps sync`. */
import { Command } from 'commander';
import type { RegisterAnswer } from '@ironflow/sdk';
import { print, printJson } from '../output.js';

export function appCommands(): Command {
  const sync = new Command('sync')
    .description('ask a push app to register its functions again; a worker does so whenever it starts')
    .argument('<url>', 'where the app is served')
    .action(async (url: string, _flags: unknown, command: Command) => {
      const answer = await syncApp(url);
      if (command.optsWithGlobals<{ json: boolean }>().json) return printJson(answer);
      print(`app ${answer.appId}`);
      for (const kind of ['registered', 'unchanged', 'archived'] as const) {
        if (answer[kind].length > 0) print(`${kind.padEnd(11)} ${answer[kind].join(', ')}`);
      }
    });
  return new Command('apps').description('the apps whose functions run here').addCommand(sync);
}

/** The app registers itself, with its own key and address. */
export async function syncApp(url: string): Promise<RegisterAnswer> {
  if (!URL.canParse(url)) throw new Error(`${url} is not a URL`);
  const response = await fetch(url, { method: 'PUT' }).catch((error: unknown) => {
    throw new Error(`the app at ${url} cannot be reached`, { cause: error });
  });
  const body = (await response.json().catch(() => undefined)) as
    (RegisterAnswer & { error?: { message: string } }) | undefined;
  if (!response.ok || body === undefined) {
    throw new Error(
      `the app at ${url} did not register: ${body?.error?.message ?? `it answered ${response.status}`}`,
    );
  }
  return body;
}
