/** `ironflow nats init`: what an installation in operator mode begins with. It is made on this machine and sent nowhere. */
import { Command } from 'commander';
import { loadNatsAccounts } from '../installed-parts.js';
import { printJson } from '../output.js';
import { wantsJson } from '../session.js';
import type { Terminal } from '../terminal.js';

interface InitFlags {
  out: string;
  name: string;
  accountsDir: string;
}

export function natsCommands(terminal: Terminal): Command {
  return new Command('nats')
    .description('the NATS servers of an installation')
    .addCommand(initCommand(terminal));
}

function initCommand(terminal: Terminal): Command {
  return new Command('init')
    .description(
      'make operator, accounts and credentials, so that environments can have accounts of their own',
    )
    .requiredOption('--out <folder>', 'where they are written; it must be empty or not be there')
    .option('--name <name>', 'of the operator, for the monitoring of the servers', 'ironflow')
    .option(
      '--accounts-dir <folder>',
      'where each server keeps accounts, on the server',
      '/data/nats/accounts',
    )
    .action(async ({ out, name, accountsDir }: InitFlags, command: Command) => {
      const { initNats } = await loadNatsAccounts();
      const folder = await initNats({ folder: out, name, accountsFolder: accountsDir });
      if (wantsJson(command)) return printJson(terminal, folder);
      terminal.print(`${folder.serverConfig}   include it in the configuration of every nats-server`);
      terminal.print(`${folder.platformCreds}   NATS_CREDS_FILE of every service`);
      terminal.print(`${folder.accounts}   NATS_ACCOUNTS_FILE of the api service`);
      terminal.print(`${folder.systemCreds}   for people who look after the servers`);
      terminal.print(`${folder.keys}   keep these offline, and nowhere else`);
    });
}
