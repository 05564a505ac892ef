/** `ironflow apps list|sync`. */
import { Command } from 'commander';
import { errorBodySchema, limits, registerAnswerSchema } from '@ironflow/schema';
import type { App, RegisterAnswer } from '@ironflow/sdk';
import { printJson, printTable } from '../output.js';
import { openSession, wantsJson } from '../session.js';
import type { Terminal } from '../terminal.js';

export function appCommands(terminal: Terminal): Command {
  const sync = new Command('sync')
    .description('ask a push app to register its functions again; a worker does so whenever it starts')
    .argument('<url>', 'where the app is served, such as http://127.0.0.1:3000/ironflow')
    .action(async (url: string, _flags: unknown, command: Command) => {
      const answer = await syncApp(url);
      if (wantsJson(command)) return printJson(terminal, answer);
      terminal.print(`app         ${answer.appId}`);
      for (const kind of ['registered', 'unchanged', 'archived'] as const) {
        if (answer[kind].length > 0) terminal.print(`${kind.padEnd(11)} ${answer[kind].join(', ')}`);
      }
    });
  const list = new Command('list')
    .description('every app, and the builds that still have runs: their workers may not go yet')
    .action(async (_flags: unknown, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const apps = await client.apps.list();
      if (json) return printJson(terminal, { apps });
      if (apps.length === 0) return terminal.print('no apps: one registers itself when it starts');
      printTable(
        terminal,
        ['APP', 'MODE', 'FUNCTIONS', 'REGISTERED', 'BUILDS WITH RUNS'],
        apps.map((app) => [
          app.id,
          app.mode,
          String(app.functions),
          app.registeredAt,
          app.builds.map(describeBuild).join(', '),
        ]),
      );
    });
  return new Command('apps')
    .description('the apps whose functions run here')
    .addCommand(list)
    .addCommand(sync);
}

function describeBuild({ id, runs, waitingForWorker }: App['builds'][number]): string {
  const count = runs >= limits.buildRunsCountMax ? `${runs} or more` : String(runs);
  return `${id}: ${count}${waitingForWorker === 0 ? '' : `, ${waitingForWorker} without a worker`}`;
}

/** Nobody answers at the address: an app that starts may do so in a moment. */
export class AppUnreachableError extends Error {
  override readonly name = 'AppUnreachableError';
}

/** The app asks the platform in its turn, several times if need be. */
const answerWithinMs = 45_000;

/** The app registers itself, with its own key and address. */
export async function syncApp(url: string, stopping?: AbortSignal): Promise<RegisterAnswer> {
  requireAppUrl(url);
  const signals = [AbortSignal.timeout(answerWithinMs), ...(stopping === undefined ? [] : [stopping])];
  const response = await fetch(url, { method: 'PUT', signal: AbortSignal.any(signals) }).catch(
    (error: unknown) => {
      throw new AppUnreachableError(`the app at ${url} cannot be reached: ${reasonOf(error)}`, {
        cause: error,
      });
    },
  );
  const body: unknown = await response.json().catch(() => undefined);
  const answer = registerAnswerSchema.safeParse(body);
  if (response.ok && answer.success) return answer.data;
  const refusal = errorBodySchema.safeParse(body);
  const why = refusal.success
    ? refusal.data.error.message
    : `it answered ${response.status}, and not as a served Ironflow app does`;
  throw new Error(`the app at ${url} did not register: ${why}`);
}

export function requireAppUrl(url: string): void {
  if (!/^https?:\/\//.test(url) || !URL.canParse(url)) {
    throw new Error(`${url} is not an http or https URL`);
  }
}

/** fetch tells why only in the cause. */
function reasonOf(error: unknown): string {
  const { cause, message } = error as { cause?: { code?: string; message?: string }; message?: string };
  return cause?.code ?? cause?.message ?? message ?? String(error);
}
