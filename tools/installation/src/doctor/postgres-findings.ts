/** What is wrong with an installation's PostgreSQL, as one of its logins sees it. Pure. */
import type { MasterKeyCheck, PostgresFacts, PostgresInspection } from '@ironflow/database';
import { fail, findingsOf, listed, note } from './finding.js';
import type { Finding, Problem } from './finding.js';

export interface PostgresContext {
  /** Which of the findings they are. */
  check: string;
  variable: 'DATABASE_URL' | 'TENANT_DATABASE_URL';
  role: 'ironflow_service' | 'ironflow_tenant';
  /** Host, port and database: nothing of the URL that is secret. */
  where: string;
  /** Of all services together. */
  connectionsWanted: number;
}

/** Functions with bodies in SQL. */
const versionMinimum = 14;

export function postgresFindings(inspection: PostgresInspection, context: PostgresContext): Finding[] {
  const { check, role } = context;
  if (inspection.kind === 'unreachable') return findingsOf(check, [fail(whyNot(inspection, context))], '');
  const { facts } = inspection;
  const problems = [
    ...serverProblems(facts),
    ...schemaProblems(facts),
    ...loginProblems(facts, role),
    ...rightProblems(facts),
    ...isolationProblems(facts, role),
    ...connectionProblems(facts, context),
    ...partitionProblems(facts),
  ];
  const version = `${Math.floor(facts.version / 10_000)}.${facts.version % 10_000}`;
  return findingsOf(
    check,
    problems,
    `PostgreSQL ${version} as ${facts.login.name}, schema ${facts.schema.newest}`,
  );
}

const isNobody = /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ECONNRESET)$/;

function whyNot(
  { code = '', why }: Extract<PostgresInspection, { kind: 'unreachable' }>,
  { variable, where }: PostgresContext,
): string {
  const said = `${variable}, ${where}: ${why}`;
  if (isNobody.test(code)) {
    return `${said}: is PostgreSQL running there, and does the network let this machine through? One whose disk is full may have stopped: its log says so`;
  }
  if (code.startsWith('28'))
    return `${said}: the password in the URL is wrong, or pg_hba.conf does not let it in`;
  if (code === '3D000') return `${said}: create the database, and run \`ironflow migrate\``;
  if (code === '53300') return `${said}: raise max_connections, or lower IRONFLOW_DATABASE_CONNECTIONS`;
  if (code === '53100') return `${said}: its disk is full; make room`;
  if (code === '57P03')
    return `${said}: it is starting, or recovers again and again as its disk is full; its log says which`;
  return `${said}${code === '' ? '' : ` (${code})`}: its log says why`;
}

function serverProblems({ version, settings, spillError }: PostgresFacts): Problem[] {
  const problems: Problem[] = [];
  if (version < versionMinimum * 10_000) {
    problems.push(
      fail(`PostgreSQL ${Math.floor(version / 10_000)} is too old: upgrade it to ${versionMinimum} or newer`),
    );
  }
  if (settings.isStandby)
    problems.push(fail('it is a standby, which takes no writes: point the URL to the primary'));
  else if (settings.isReadOnly)
    problems.push(fail('it takes no writes: default_transaction_read_only is on; turn it off'));
  if (settings.unsafe.length > 0) {
    const remedy = 'what was committed last can be lost though services have acted on it; turn it on';
    problems.push(
      fail(`${settings.unsafe.join(', ')} ${settings.unsafe.length === 1 ? 'is' : 'are'} off: ${remedy}`),
    );
  }
  if (spillError === '53100') {
    problems.push(
      fail('its disk is full (53100): make room; until then events are refused and nothing goes on'),
    );
  } else if (spillError !== undefined) {
    problems.push(note(`whether its disk has room could not be tried (${spillError})`));
  }
  return problems;
}

function schemaProblems({ schema: { newest, own, isServed } }: PostgresFacts): Problem[] {
  if (newest === undefined)
    return [fail('it has no schema, or this login may not read it: run `ironflow migrate`')];
  if (newest === own) return [];
  if (isServed)
    return [note(`its schema ${newest} is newer than this version’s (${own}), which it still serves`)];
  return newest > own
    ? [fail(`its schema ${newest} does not serve this version (${own}) any more: run a newer one`)]
    : [fail(`its schema ${newest} is older than this version’s (${own}): run \`ironflow migrate\``)];
}

function loginProblems({ login }: PostgresFacts, role: string): Problem[] {
  const who = login.name;
  const instead = `use the login ${role}, as \`ironflow migrate\` makes it`;
  const problems: Problem[] = [];
  if (login.isSuperuser)
    problems.push(fail(`${who} is a superuser: no row-level security holds for it; ${instead}`));
  else {
    if (login.bypassesRowSecurity)
      problems.push(fail(`${who} bypasses row-level security: alter role ${who} nobypassrls`));
    if (login.isOwner) problems.push(fail(`${who} owns the tables, or may act as who does: ${instead}`));
    if (!login.isRole)
      problems.push(fail(`${who} is not ${role}, whose rights the services need: ${instead}`));
  }
  return problems;
}

/** Of a superuser they say nothing. */
function rightProblems({ rights, login }: PostgresFacts): Problem[] {
  if (login.isSuperuser || !login.isRole) return [];
  const problems: Problem[] = [];
  if (rights.missing.length > 0) {
    problems.push(fail(`${login.name} lacks ${listed(rights.missing)}: grant it what the migrations grant`));
  }
  if (rights.excessive.length > 0) {
    problems.push(fail(`${login.name} may more than it should (${listed(rights.excessive)}): revoke it`));
  }
  return problems;
}

function isolationProblems(facts: PostgresFacts, role: string): Problem[] {
  const problems: Problem[] = [];
  if (facts.unprotectedTables.length > 0) {
    const names = listed(facts.unprotectedTables);
    problems.push(
      fail(
        `row-level security is not forced on ${names}: alter table … enable row level security, force row level security`,
      ),
    );
  }
  if (role === 'ironflow_tenant' && facts.seesEveryEnvironment && !facts.login.isSuperuser) {
    problems.push(
      fail('it sees environments without saying which is its own: a policy is missing or too wide'),
    );
  }
  return problems;
}

const freeMin = 5;

function connectionProblems(
  { connections: { max, used } }: PostgresFacts,
  { connectionsWanted }: PostgresContext,
): Problem[] {
  const free = max - used;
  if (free < freeMin)
    return [
      fail(
        `${used} of ${max} connections are taken: raise max_connections, or lower IRONFLOW_DATABASE_CONNECTIONS`,
      ),
    ];
  if (max >= connectionsWanted) return [];
  return [
    note(
      `one replica of each service takes up to ${connectionsWanted} connections, and there are ${max}: raise max_connections, or lower IRONFLOW_DATABASE_CONNECTIONS`,
    ),
  ];
}

function partitionProblems({ missingPartitions }: PostgresFacts): Problem[] {
  if (missingPartitions.length === 0) return [];
  const remedy = 'a scheduler makes them within the hour; does one run, and what does its log say?';
  return [fail(`partitions are not made ahead (${listed(missingPartitions)}): ${remedy}`)];
}

export function masterKeyFindings({ opened, foreign, damaged }: MasterKeyCheck): Finding[] {
  const problems: Problem[] = [];
  if (foreign > 0) {
    problems.push(
      fail(
        `${foreign} of ${opened + foreign + damaged} stored keys are wrapped by a master key that is not among those of IRONFLOW_MASTER_KEY: add it, separated by a comma`,
      ),
    );
  }
  if (damaged > 0)
    problems.push(
      fail(`${damaged} stored keys were altered and cannot be opened: restore them from a backup`),
    );
  return findingsOf('master key', problems, `opens all ${opened} stored keys`);
}
