/** `ironflow audit list|verify`. */
import { Command, InvalidArgumentError } from 'commander';
import { auditHash, checkAuditEntries, noAuditEntries } from '@ironflow/schema';
import type { AuditEntry, AuditVerdict } from '@ironflow/schema';
import type { Client } from '@ironflow/sdk';
import { parsePageSize, parseTime } from '../input.js';
import { printJson, printTable } from '../output.js';
import { ReportedFailure } from '../reported-failure.js';
import { openSession } from '../session.js';
import type { Terminal } from '../terminal.js';

export function auditCommands(terminal: Terminal): Command {
  return new Command('audit')
    .description('the audit log: who did what from where; takes a key of role admin')
    .addCommand(listCommand(terminal))
    .addCommand(verifyCommand(terminal));
}

interface ListFlags {
  action?: string;
  actor?: string;
  refused: boolean;
  from?: string;
  to?: string;
  limit: number;
  cursor?: string;
}

function listCommand(terminal: Terminal): Command {
  return new Command('list')
    .description('entries, the newest first')
    .option('--action <action>', 'only those of this action, such as run.cancel')
    .option('--actor <id>', 'only those of this key or link')
    .option('--refused', 'only what was refused', false)
    .option('--from <time>', 'at or after, such as 2030-01-31T12:00:00Z', parseTime)
    .option('--to <time>', 'before', parseTime)
    .option('--limit <n>', 'entries a page, at most 200', parsePageSize, 50)
    .option('--cursor <cursor>', 'the next page, as the one before names it')
    .action(async ({ refused, ...query }: ListFlags, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const page = await client.audit.list({ ...query, ...(refused ? { outcome: 'refused' } : {}) });
      if (json) return printJson(terminal, page);
      if (page.entries.length === 0) return terminal.print('no entries');
      printTable(
        terminal,
        ['NUMBER', 'AT', 'WHO', 'ACTION', 'TARGET', 'FROM', 'OUTCOME'],
        page.entries.map((entry) => [
          String(entry.sequence),
          entry.occurredAt,
          `${entry.actor.kind} ${entry.actor.id}`,
          entry.action,
          entry.target.id === undefined ? entry.target.kind : `${entry.target.kind} ${entry.target.id}`,
          entry.address ?? '',
          outcomeOf(entry),
        ]),
      );
      if (page.nextCursor !== undefined) terminal.print(`\nmore: --cursor ${page.nextCursor}`);
    });
}

function outcomeOf({ outcome, code, count }: AuditEntry): string {
  if (outcome === 'done') return outcome;
  return `${outcome}: ${code ?? ''}${count === 1 ? '' : ` (${count} times)`}`;
}

function parseHash(text: string): string {
  if (/^[0-9a-f]{64}$/.test(text)) return text;
  throw new InvalidArgumentError('It must be 64 hexadecimal digits, as `audit verify` prints them.');
}

function verifyCommand(terminal: Terminal): Command {
  return new Command('verify')
    .description('read the whole log and compute every hash here: whether it is as it was written')
    .option(
      '--head <hash>',
      'the head that an earlier `audit verify` printed: only so is seen that a log was cut short or written anew',
      parseHash,
    )
    .action(async ({ head }: { head?: string }, command: Command) => {
      const { client, json } = openSession(command, terminal);
      const { verdict, isHeadThere } = await verifyEntries(client, head);
      const isGood = verdict.ok && isHeadThere;
      if (json)
        printJson(terminal, { ...verdict, ok: isGood, ...(head === undefined ? {} : { isHeadThere }) });
      else for (const line of describe(verdict, isHeadThere)) terminal.print(line);
      if (!isGood) throw new ReportedFailure('the audit log is not as it was written');
    });
}

const pageSize = 200;

/** Nothing of what the platform says of the entries is believed: their hashes are computed here. */
async function verifyEntries(
  client: Client,
  head: string | undefined,
): Promise<{ verdict: AuditVerdict; isHeadThere: boolean }> {
  let verdict = noAuditEntries;
  let isHeadThere = head === undefined || head === verdict.head;
  let cursor: string | undefined;
  do {
    const page = await client.audit.list({ order: 'oldest', limit: pageSize, ...(cursor && { cursor }) });
    verdict = checkAuditEntries(verdict, page.entries);
    isHeadThere ||= page.entries.some((entry) => auditHash(entry) === head);
    cursor = page.nextCursor;
  } while (cursor !== undefined && verdict.ok);
  return { verdict, isHeadThere };
}

const reasons = {
  altered: 'was altered: its hash is not that of its content',
  missing: 'is missing',
  unlinked: 'does not follow the one before it',
};

function describe({ entries, head, firstBroken }: AuditVerdict, isHeadThere: boolean): string[] {
  if (firstBroken !== undefined) {
    return [
      `broken: entry ${firstBroken.sequence} ${reasons[firstBroken.reason]}`,
      `the ${entries} before it are in order`,
    ];
  }
  if (!isHeadThere) return [`cut short or written anew: none of the ${entries} entries has that hash`];
  return [`ok: ${entries} entries`, `head ${head}`];
}
