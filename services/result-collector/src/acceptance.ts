/**
 * Gets a batch of journal messages accepted by Postgres and says what became of each. First everything is offered as it
 * came; what is left is judged by where its run stands, with the run's journal read from the stream's leader where a message
 * came before one that it follows.
 *
 * A message that Postgres refuses for its data is found by halving. Nothing after it could ever be accepted, and replaying
 * the run would record the same again, so the run fails at that message: it ends, and says why, instead of hanging. The
 * message is kept as a dead letter before, by whoever was delivered it: afterwards it would pass for one that Postgres has.
 */
import { messageOf } from '@ironflow/errors';
import { isRefusedData } from '@ironflow/database';
import type { AcceptedRun, CollectorStore, RunProgress } from '@ironflow/database';
import type { Journal } from '@ironflow/jetstream';
import { isTerminal } from '@ironflow/schema';
import type { Failure } from '@ironflow/schema';
import { childLogger, runContext } from '@ironflow/service';
import type { Logger } from '@ironflow/service';
import type { DeadLetters } from './dead-letters.js';
import { chainsOf, collapse } from './progress.js';
import type { PlacedMessage } from './progress.js';
import { settle } from './settlement.js';
import type { Disposition, Settlement } from './settlement.js';

export type Outcome = Disposition | 'accepted' | 'refused' | 'unsettled';

/** Part of a run's chain that Postgres took in one change. */
export interface Accepted {
  run: AcceptedRun;
  messages: PlacedMessage[];
  /** Set when it ended the run with a failure. */
  failure?: Failure | undefined;
}

export interface Acceptance {
  accepted: Accepted[];
  /** Where runs stand whose messages were there already. */
  present: { run: AcceptedRun; messages: PlacedMessage[] }[];
  /** By sequence, of every message of the batch. */
  outcomes: Map<number, Outcome>;
}

export interface AcceptanceOptions {
  store: CollectorStore;
  journal: Pick<Journal, 'after'>;
  deadLetters: DeadLetters;
  logger: Logger;
  /** The stream lost its latest messages, and gave their sequences to others. */
  wentBack?: boolean;
}

/** Rounds beyond the first are lost to other collectors that apply the same runs; they cannot go on for long. */
const roundsMax = 8;
export const refusal: Failure = {
  name: 'refused_by_database',
  message: 'a recorded entry of this run cannot be stored; it was kept as a dead letter',
};

export function createAcceptance(): Acceptance {
  return { accepted: [], present: [], outcomes: new Map() };
}

/**
 * Rejects when Postgres or the journal cannot be reached. Called again with the same acceptance it goes on with what is
 * still open: what was accepted before is not taken for somebody else's.
 */
export async function acceptBatch(
  options: AcceptanceOptions,
  batch: readonly PlacedMessage[],
  acceptance: Acceptance,
): Promise<void> {
  const { chains } = chainsOf(batch.filter(({ sequence }) => !acceptance.outcomes.has(sequence)));
  await applyChains(options, chains, acceptance);
  for (let round = 1; round <= roundsMax; round += 1) {
    const open = batch.filter(({ sequence }) => !acceptance.outcomes.has(sequence));
    if (open.length === 0) return;
    const next = await settleOpen(options, open, acceptance);
    await applyChains(options, next, acceptance);
  }
  for (const { sequence } of batch) {
    if (!acceptance.outcomes.has(sequence)) acceptance.outcomes.set(sequence, 'unsettled');
  }
}

/** Settles what can be settled; answers the chains to apply next. */
async function settleOpen(
  options: AcceptanceOptions,
  open: readonly PlacedMessage[],
  acceptance: Acceptance,
): Promise<PlacedMessage[][]> {
  const byRun = new Map<string, PlacedMessage[]>();
  for (const placed of open) {
    const messages = byRun.get(placed.message.runId) ?? [];
    messages.push(placed);
    byRun.set(placed.message.runId, messages);
  }
  const positions = await options.store.positions([...byRun.keys()]);
  const settleRun = async (runId: string, messages: PlacedMessage[]): Promise<PlacedMessage[]> => {
    const run = positions.get(runId);
    const settlement = await settleWithJournal(options, run, messages);
    for (const { placed, disposition } of settlement.settled) {
      acceptance.outcomes.set(placed.sequence, disposition);
    }
    const present = settlement.settled.filter(({ disposition }) => disposition === 'present');
    if (run !== undefined && present.length > 0) {
      acceptance.present.push({ run, messages: present.map(({ placed }) => placed) });
    }
    return settlement.chain;
  };
  const chains = await Promise.all(
    [...byRun].map(([runId, messages]) =>
      settleRun(runId, messages).catch((error: unknown) => {
        // One journal that cannot be read holds up its own run only.
        const logger = childLogger(options.logger, runContext(positions.get(runId) ?? { runId }));
        logger.warn({ reason: messageOf(error) }, 'a journal cannot be read now');
        for (const { sequence } of messages) acceptance.outcomes.set(sequence, 'unsettled');
        return [];
      }),
    ),
  );
  return chains.filter((chain) => chain.length > 0);
}

async function settleWithJournal(
  { store, journal, wentBack = false }: AcceptanceOptions,
  run: AcceptedRun | undefined,
  messages: readonly PlacedMessage[],
): Promise<Settlement> {
  const settlement = settle(run, messages);
  if (run === undefined || !(settlement.needsJournal || wentBack)) return settlement;
  const tail = await journal.after(run.scope, run.runId, wentBack ? 0 : run.journalSeq);
  // Where the run stands once that was read: what is not there may have been accepted and trimmed meanwhile.
  const positions = await store.positions([run.runId]);
  return settle(positions.get(run.runId), messages, { tail, wentBack });
}

/** What was accepted is noted commit by commit, so that it is known even if a later one fails. */
async function applyChains(
  options: AcceptanceOptions,
  chains: readonly PlacedMessage[][],
  acceptance: Acceptance,
): Promise<void> {
  const { applyMax } = options.store;
  for (let start = 0; start < chains.length; start += applyMax) {
    await applySlice(options, chains.slice(start, start + applyMax), acceptance);
  }
}

async function applySlice(
  options: AcceptanceOptions,
  chains: readonly PlacedMessage[][],
  acceptance: Acceptance,
): Promise<void> {
  try {
    const progresses = chains.map(collapse);
    const accepted = await options.store.apply(progresses);
    noteAccepted(chains, progresses, accepted, acceptance);
  } catch (error) {
    if (!isRefusedData(error)) throw error;
    if (chains.length > 1) {
      const middle = chains.length >> 1;
      await applySlice(options, chains.slice(0, middle), acceptance);
      await applySlice(options, chains.slice(middle), acceptance);
      return;
    }
    const chain = chains[0]!;
    if (chain.length === 1) return failAt(options, chain[0]!, acceptance);
    const middle = chain.length >> 1;
    await applySlice(options, [chain.slice(0, middle)], acceptance);
    await applySlice(options, [chain.slice(middle)], acceptance);
  }
}

async function failAt(
  { store, deadLetters }: AcceptanceOptions,
  culprit: PlacedMessage,
  acceptance: Acceptance,
): Promise<void> {
  const { message, delivered } = culprit;
  const { runId, environmentId, prev, activatedAtMs } = message;
  // Read from the journal: it is left to the collector that it is delivered to, and so is what follows it.
  if (delivered === undefined) return;
  const position = (await store.positions([runId])).get(runId);
  // No part of the chain: it is judged like any other.
  if (position?.journalSeq !== prev || isTerminal(position.status)) return;
  await deadLetters.keep([{ lost: delivered, message, reason: 'refused_by_database' }]);
  const progress: RunProgress = {
    runId,
    environmentId,
    prev,
    journalSeq: culprit.sequence,
    startedAtMs: activatedAtMs,
    steps: [],
    status: 'failed',
    error: refusal,
  };
  const [run] = await store.apply([progress]);
  if (run === undefined) return;
  acceptance.accepted.push({ run, messages: [], failure: refusal });
  acceptance.outcomes.set(culprit.sequence, 'refused');
}

function noteAccepted(
  chains: readonly PlacedMessage[][],
  progresses: readonly RunProgress[],
  accepted: readonly AcceptedRun[],
  acceptance: Acceptance,
): void {
  const runs = new Map(accepted.map((run) => [run.runId, run]));
  for (const [index, messages] of chains.entries()) {
    const progress = progresses[index]!;
    const run = runs.get(progress.runId);
    if (run === undefined) continue;
    acceptance.accepted.push({
      run,
      messages,
      failure: run.status === 'failed' ? progress.error : undefined,
    });
    for (const { sequence } of messages) acceptance.outcomes.set(sequence, 'accepted');
  }
}
