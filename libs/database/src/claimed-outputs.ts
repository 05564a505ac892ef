/**
 * Outputs that are too large for the journal, from before their entries are appended until they are accepted. The executor
 * stores them, the collector's statement takes them over (result-collector.ts), and until then whoever reads the journal's
 * tail reads them here.
 *
 * 1. A text is stored before the entry that claims it is appended, under the key of its step's attempt and its own hash: a
 *    repetition stores nothing twice, and writers that race do not take each other's.
 * 2. It goes in the transaction that accepts the entry, and is the step's from then on: one statement finds it in one place
 *    or the other.
 */
import { createHash } from 'node:crypto';
import type { OutputClaim } from '@ironflow/schema';
import { isRefusedData } from './database-error.js';
import type { Database, Statement } from './database.js';

export interface ClaimKey {
  runId: string;
  /** That and its attempt are `runStep` for what the run itself returned. */
  stepId: string;
  attempt: number;
  hash: string;
}

export interface OutputToClaim extends ClaimKey {
  environmentId: string;
  /** JSON text. */
  output: string;
}

/** What stands for the step in the claim of a run's own output. */
export const runStep = { stepId: '', attempt: 0 } as const;

export function claimFor(output: string): OutputClaim {
  const hash = `sha256-${createHash('sha256').update(output).digest('base64url')}`;
  return { hash, bytes: Buffer.byteLength(output) };
}

/** In the order of the outputs: whether each is stored. One that is not is refused for what it is, such as no JSON. */
export async function storeClaimedOutputs(
  database: Database,
  outputs: readonly OutputToClaim[],
): Promise<boolean[]> {
  const isStored: boolean[] = [];
  for (let from = 0; from < outputs.length;) {
    const to = endOfStatement(outputs, from);
    isStored.push(...(await storeSome(database, outputs.slice(from, to))));
    from = to;
  }
  return isStored;
}

/** Of text in one statement: it is in memory several times on its way. */
const statementLengthMax = 8 * 1024 * 1024;

function endOfStatement(outputs: readonly OutputToClaim[], from: number): number {
  let to = from;
  for (let length = 0; to < outputs.length; to += 1) {
    length += outputs[to]!.output.length;
    if (to > from && length > statementLengthMax) break;
  }
  return to;
}

/** What is refused is found by halving, so that it costs its neighbours nothing. */
async function storeSome(database: Database, outputs: readonly OutputToClaim[]): Promise<boolean[]> {
  try {
    await database.query(storeStatement, [...keyColumns(outputs), ...textColumns(outputs)]);
    return outputs.map(() => true);
  } catch (error) {
    if (!isRefusedData(error)) throw error;
    if (outputs.length === 1) return [false];
    const middle = outputs.length >> 1;
    return [
      ...(await storeSome(database, outputs.slice(0, middle))),
      ...(await storeSome(database, outputs.slice(middle))),
    ];
  }
}

/**
 * Environment, first byte (from 1), bytes; and all texts in one: an array of them would be escaped by the driver, which takes
 * seconds for one that is all quotes, and nothing else runs meanwhile.
 */
function textColumns(outputs: readonly OutputToClaim[]): unknown[] {
  const texts = outputs.map(({ output }) => Buffer.from(output));
  let end = 1;
  const starts = texts.map(({ length }) => (end += length) - length);
  return [
    outputs.map(({ environmentId }) => environmentId),
    starts,
    texts.map(({ length }) => length),
    Buffer.concat(texts),
  ];
}

/** Run id, step id, attempt, hash. */
export function keyColumns(keys: readonly ClaimKey[]): unknown[][] {
  return [
    keys.map(({ runId }) => runId),
    keys.map(({ stepId }) => stepId),
    keys.map(({ attempt }) => attempt),
    keys.map(({ hash }) => hash),
  ];
}

// In the order of the keys, as everybody inserts: two that store the same do not wait for each other in a circle.
const storeStatement: Statement = {
  name: 'store_claimed_outputs',
  text: `insert into claimed_outputs (run_id, step_id, attempt, hash, environment_id, output)
    select run_id, step_id, attempt, hash, environment_id,
      convert_from(substring($8::bytea from start for bytes), 'UTF8')::json
    from unnest($1::uuid[], $2::text[], $3::int[], $4::text[], $5::uuid[], $6::int[], $7::int[])
      as g (run_id, step_id, attempt, hash, environment_id, start, bytes)
    order by run_id, step_id, attempt, hash
    on conflict do nothing`,
};

/** In the order of the keys; `undefined` for one that is nowhere. */
export async function readClaimedOutputs(
  database: Database,
  keys: readonly ClaimKey[],
): Promise<(string | undefined)[]> {
  if (keys.length === 0) return [];
  const rows = await database.query<{ place: number; output: string | null }>(
    readStatement,
    keyColumns(keys),
  );
  const outputs = new Map(rows.map(({ place, output }) => [place, output ?? undefined]));
  return keys.map((_, index) => outputs.get(index + 1));
}

const readStatement: Statement = {
  name: 'read_claimed_outputs',
  text: `select g.place::int, coalesce((
      select output::text from claimed_outputs c
      where c.run_id = g.run_id and c.step_id = g.step_id and c.attempt = g.attempt and c.hash = g.hash
    ), (
      select output::text from steps s
      where s.run_id = g.run_id and s.step_id = g.step_id and s.attempt = g.attempt
    )) as output
    from unnest($1::uuid[], $2::text[], $3::int[], $4::text[]) with ordinality
      as g (run_id, step_id, attempt, hash, place)`,
};
