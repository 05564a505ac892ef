/**
 * Approvals of runs: the links by which they are decided, and decisions. Whose a link is is not known before, so it is found by
 * the one function that may look beyond row-level security (`find_approval_link`); all else is within the environment.
 */
import { approvalSignal, isTerminal, limits } from '@ironflow/schema';
import type { ApprovalDecision, RunStatus, Scope } from '@ironflow/schema';
import type { Database, Statement } from './database.js';
import { scopeOf } from './environment-scope.js';
import type { ScopeRow } from './environment-scope.js';
import type { Secrets } from './envelope.js';
import { createLinkToken, hashLinkToken, isLinkToken } from './keys.js';

export interface Approval {
  runId: string;
  name: string;
}

export interface FoundApproval extends Approval {
  scope: Scope;
  linkId: string;
}

export type LinkOutcome =
  /** `linkId` names the link and opens nothing. */
  | { kind: 'created'; token: string; linkId: string }
  /** `limits.approvalLinksPerRunMax` of them are there. */
  | { kind: 'too_many' }
  | { kind: 'ended' }
  | { kind: 'not_found' };

/** `expired`: the step went on without one; `unknown`: the run has not asked for it; `id_reused`: for another signal of the run. */
export type DecisionOutcome =
  'decided' | 'decided_before' | 'expired' | 'ended' | 'unknown' | 'id_reused' | 'not_found';

export interface ApprovalState {
  functionId: string;
  /** `closed`: the run has ended, or went on without a decision. */
  state: 'open' | 'decided' | 'closed';
}

export interface ApprovalStore {
  /** `random` is exactly 32 random bytes. The token is kept nowhere. */
  createLink(environmentId: string, approval: Approval, random: Uint8Array): Promise<LinkOutcome>;
  findLink(token: string): Promise<FoundApproval | undefined>;
  stateOf(approval: FoundApproval): Promise<ApprovalState | undefined>;
  /** Of several one decides; a second time, by its id, it changes nothing. */
  decide(
    environmentId: string,
    approval: Approval,
    decision: ApprovalDecision & { id: string },
  ): Promise<DecisionOutcome>;
}

export function createApprovalStore(database: Database, secrets: Secrets): ApprovalStore {
  return {
    createLink: (environmentId, { runId, name }, random) =>
      database.inEnvironment(environmentId, async (transaction) => {
        const values = [environmentId, runId, limits.approvalLinksPerRunMax];
        const [run] = await transaction.query<LinkedRunRow>(linkedRunStatement, values);
        if (run === undefined) return { kind: 'not_found' };
        if (isTerminal(run.status)) return { kind: 'ended' };
        if (run.is_full) return { kind: 'too_many' };
        const token = createLinkToken(random);
        const hash = hashLinkToken(token, secrets.approvalPepper);
        await transaction.query(createLinkStatement, [hash, environmentId, runId, name]);
        return { kind: 'created', token, linkId: linkIdOf(hash) };
      }),
    findLink: async (token) => {
      // A mistyped or invented one costs a checksum and does not reach the database.
      if (!isLinkToken(token)) return undefined;
      const hash = hashLinkToken(token, secrets.approvalPepper);
      const [row] = await database.query<ScopeRow & { run_id: string; name: string }>(findLinkStatement, [
        hash,
      ]);
      return row && { scope: scopeOf(row), linkId: linkIdOf(hash), runId: row.run_id, name: row.name };
    },
    stateOf: ({ scope, runId, name }) =>
      database.inEnvironment(scope.environmentId, async (transaction) => {
        const values = [scope.environmentId, runId, name, approvalSignal(name)];
        const [row] = await transaction.query<StateRow>(stateStatement, values);
        return row && { functionId: row.function_id, state: stateOf(row) };
      }),
    decide: (environmentId, { runId, name }, { id, ...decision }) =>
      database.inEnvironment(environmentId, async (transaction) => {
        const values = [runId, id, name, approvalSignal(name), JSON.stringify(decision)];
        const rows = await transaction.query<{ outcome: DecisionOutcome }>(decideStatement, values);
        return rows[0]!.outcome;
      }),
  };
}

/** Of a keyed hash, so that nobody gets from it to the token. */
function linkIdOf(hash: Buffer): string {
  return hash.toString('hex').slice(0, 16);
}

function stateOf(row: StateRow): ApprovalState['state'] {
  if (isTerminal(row.status)) return 'closed';
  if (row.is_decided) return 'decided';
  return row.is_past ? 'closed' : 'open';
}

interface LinkedRunRow {
  status: RunStatus;
  is_full: boolean;
}

interface StateRow {
  function_id: string;
  status: RunStatus;
  is_decided: boolean;
  is_past: boolean;
}

const linkedRunStatement: Statement = {
  name: 'run_to_link',
  text: `select status,
      (select count(*) from approval_links where environment_id = $1 and run_id = $2) >= $3 as is_full
    from runs where environment_id = $1 and id = $2`,
};
const createLinkStatement: Statement = {
  name: 'create_approval_link',
  text: 'insert into approval_links (token_hash, environment_id, run_id, name) values ($1, $2, $3, $4)',
};
const findLinkStatement: Statement = {
  name: 'find_approval_link',
  text: 'select environment_id, project, env, run_id, name from find_approval_link($1)',
};
const stateStatement: Statement = {
  name: 'approval_state',
  text: `select function_id, status,
      exists (select from signals where environment_id = $1 and run_id = $2 and name = $4) as is_decided,
      not exists (select from waits where environment_id = $1 and run_id = $2 and kind = 'signal' and name = $4)
        and exists (select from steps where environment_id = $1 and run_id = $2 and step_id = $3
          and type = 'wait_for_signal' and status <> 'waiting') as is_past
    from runs where environment_id = $1 and id = $2`,
};
const decideStatement: Statement = {
  name: 'decide_approval',
  text: 'select decide_approval($1, $2, $3, $4, $5) as outcome',
};
